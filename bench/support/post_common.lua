-- What post.lua and post_list.lua share: each thread of wrk has event_ids of its own, and one line of result is printed.
--   wrk … -s bench/support/post.lua URL -- TOKEN FIRST_EVENT_ID
-- The line: answers, seconds, errors, and the milliseconds of p50, p99 and the longest.

local threads = 0

function setup(thread)
   thread:set("number", threads)
   threads = threads + 1
end

function init(arguments)
   wrk.method = "POST"
   wrk.headers["Authorization"] = "Bearer " .. arguments[1]
   wrk.headers["Content-Type"] = content_type
   event_id = tonumber(arguments[2]) + number * 100000000
end

function done(summary, latency, requests)
   local e = summary.errors
   io.write(string.format("RESULT %d %.6f %d %.3f %.3f %.3f\n", summary.requests, summary.duration / 1e6,
      e.connect + e.read + e.write + e.timeout + e.status,
      latency:percentile(50) / 1000, latency:percentile(99) / 1000, latency.max / 1000))
end
