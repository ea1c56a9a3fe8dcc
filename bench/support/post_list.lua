-- For wrk: POSTs of 1,000 emails of 1 KB to /api/emails, each with an event_id of its own.
--   wrk … -s bench/support/post_list.lua URL -- TOKEN FIRST_EVENT_ID
-- Prints one line, as post.lua does.

local threads = 0
local EMAILS = 1000
local CONTENT = string.rep(string.rep("lorem ipsum ", 5) .. "dolor\\n", 14)
local REST = ',"subject":"Subject of it","due_at":"2099-01-02T03:04:05+08:00","content":"' .. CONTENT .. '"}'

function setup(thread)
   thread:set("number", threads)
   threads = threads + 1
end

function init(arguments)
   wrk.method = "POST"
   wrk.headers["Authorization"] = "Bearer " .. arguments[1]
   wrk.headers["Content-Type"] = "application/json"
   event_id = tonumber(arguments[2]) + number * 100000000
end

function request()
   local emails = {}
   for n = 1, EMAILS do
      emails[n] = '{"event_id":' .. string.format("%d", event_id + n) .. REST
   end
   event_id = event_id + EMAILS
   return wrk.format(nil, nil, nil, "[" .. table.concat(emails, ",") .. "]")
end

function done(summary, latency, requests)
   local e = summary.errors
   io.write(string.format("RESULT %d %.6f %d %.3f %.3f %.3f\n", summary.requests, summary.duration / 1e6,
      e.connect + e.read + e.write + e.timeout + e.status,
      latency:percentile(50) / 1000, latency:percentile(99) / 1000, latency.max / 1000))
end
