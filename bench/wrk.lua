-- What bench/compare asks wrk for. Arguments after "--": the pipelining depth. Requests are made once, before the run;
-- the result is one line of JSON.

function init(args)
	local depth = tonumber(args[1]) or 1
	local request = wrk.format()

	-- wrk takes its fixed request from wrk.format() after this function, and counts the requests in it.
	wrk.format = function()
		return string.rep(request, depth)
	end
end

function done(summary, latency, requests)
	local errors = summary.errors

	print(string.format(
		'wrk-result {"requests": %d, "microseconds": %d, "bytes": %d, "p50": %d, "p99": %d, "max": %d, ' ..
		'"connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}',
		summary.requests, summary.duration, summary.bytes, latency:percentile(50), latency:percentile(99), latency.max,
		errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
