-- For wrk: POSTs of 1 KB to /send-emails, each with an event_id of its own. See post_common.lua.

dofile(debug.getinfo(1, "S").source:match("^@?(.*/)") .. "post_common.lua")
content_type = "application/x-www-form-urlencoded"

local LINE = string.rep("lorem+ipsum+", 5) .. "dolor%0A"
local FORM = "&email_subject=Subject+of+it&timestamp=2099-01-02+03%3A04%3A05&email_content=" .. string.rep(LINE, 14)

function request()
   event_id = event_id + 1
   return wrk.format(nil, nil, nil, "event_id=" .. string.format("%d", event_id) .. FORM)
end
