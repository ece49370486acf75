-- What wrk sends and what it prints. Arguments: `upload BYTES` sends a body of that many bytes with each request;
-- `once CONNECTIONS` sends one request on each connection and leaves it open.
-- Called by tests/bench/lib/balancer.sh.

local connections, started = nil, 0

function init(arguments)
    if arguments[1] == "upload" then
        wrk.method = "POST"
        wrk.body = string.rep("x", tonumber(arguments[2]))
    elseif arguments[1] == "once" then
        connections = tonumber(arguments[2])
    end
    if not connections then delay = nil end
end

-- In milliseconds, asked before each request; wrk looks for it once, after `init`.
function delay()
    started = started + 1
    return started <= connections and 0 or 3600000
end

-- A request that came back with another status than 2xx or 3xx counts as an error of `status`.
function done(summary, latency)
    local errors = summary.errors
    io.write(string.format(
        '{"requests":%d,"seconds":%.6f,"bytes":%d,"p50_us":%d,"p99_us":%d,"errors":{"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}}\n',
        summary.requests, summary.duration / 1000000, summary.bytes, latency:percentile(50), latency:percentile(99),
        errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
