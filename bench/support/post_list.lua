-- For wrk: POSTs of 1,000 emails of 1 KB to /api/emails, each with an event_id of its own. See post_common.lua.

dofile(debug.getinfo(1, "S").source:match("^@?(.*/)") .. "post_common.lua")
content_type = "application/json"

local EMAILS = 1000
local CONTENT = string.rep(string.rep("lorem ipsum ", 5) .. "dolor\\n", 14)
local REST = ',"subject":"Subject of it","due_at":"2099-01-02T03:04:05+08:00","content":"' .. CONTENT .. '"}'

function request()
   local emails = {}
   for n = 1, EMAILS do
      emails[n] = '{"event_id":' .. string.format("%d", event_id + n) .. REST
   end
   event_id = event_id + EMAILS
   return wrk.format(nil, nil, nil, "[" .. table.concat(emails, ",") .. "]")
end
