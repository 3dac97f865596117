-- What every contestant of `perf` sends over HTTP: one call of `echo`, written once, posted for ever.
--
--     wrk -t1 -c64 -d10s -s bench/wrk/call.lua http://127.0.0.1:PORT/mcp [-- legacy]
--
-- The id is always the same, which over HTTP no server minds: each exchange has one call. Nothing runs
-- for a request or a reply; wrk repeats the bytes it made at the start. The last line is for the driver.

local arguments = [["name":"echo","arguments":{"message":"hello"}]]

local meta = [[,"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",]]
  .. [["io.modelcontextprotocol/clientInfo":{"name":"wrk","version":"4"},]]
  .. [["io.modelcontextprotocol/clientCapabilities":{}}]]

function init(args)
  local modern = args[1] ~= "legacy"
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
  wrk.headers["Accept"] = "application/json, text/event-stream"
  wrk.headers["MCP-Protocol-Version"] = modern and "2026-07-28" or "2025-11-25"
  if modern then
    wrk.headers["Mcp-Method"] = "tools/call"
    wrk.headers["Mcp-Name"] = "echo"
  end
  wrk.body = [[{"jsonrpc":"2.0","id":11,"method":"tools/call","params":{]]
    .. arguments .. (modern and meta or "") .. "}}"
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    "driver: requests=%d duration_us=%d bytes=%d errors=%d p50_us=%d p99_us=%d\n",
    summary.requests, summary.duration, summary.bytes,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
