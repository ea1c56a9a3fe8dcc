-- For wrk: POSTs of 1 KB to /send-emails, each with an event_id of its own.
--   wrk … -s bench/support/post.lua URL -- TOKEN FIRST_EVENT_ID
-- Prints one line: answers, seconds, errors, and the milliseconds of p50, p99 and the longest.

local threads = 0
local LINE = string.rep("lorem+ipsum+", 5) .. "dolor%0A"
local FORM = "&email_subject=Subject+of+it&timestamp=2099-01-02+03%3A04%3A05&email_content=" .. string.rep(LINE, 14)

function setup(thread)
   thread:set("number", threads)
   threads = threads + 1
end

function init(arguments)
   wrk.method = "POST"
   wrk.headers["Authorization"] = "Bearer " .. arguments[1]
   wrk.headers["Content-Type"] = "application/x-www-form-urlencoded"
   event_id = tonumber(arguments[2]) + number * 100000000
end

function request()
   event_id = event_id + 1
   return wrk.format(nil, nil, nil, "event_id=" .. string.format("%d", event_id) .. FORM)
end

function done(summary, latency, requests)
   local e = summary.errors
   io.write(string.format("RESULT %d %.6f %d %.3f %.3f %.3f\n", summary.requests, summary.duration / 1e6,
      e.connect + e.read + e.write + e.timeout + e.status,
      latency:percentile(50) / 1000, latency:percentile(99) / 1000, latency.max / 1000))
end
