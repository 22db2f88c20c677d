-- Describe a stream, and write its first entry if there is one. Only the process that runs it may.
-- KEYS: meta, events. ARGV: process, owner, size limit, epoch, lifetime in ms, TTL in s, request,
-- body, "end" at the end of the stream, then the entry: its id and its fields. Returns 0 if another
-- process runs the stream.
local runs = redis.call("HGET", KEYS[1], "p")
if runs and runs ~= ARGV[1] then return 0 end
redis.call("HSET", KEYS[1], "p", ARGV[1], "o", ARGV[2], "c", ARGV[3], "k", ARGV[4])
if ARGV[9] == "end" then
  redis.call("HDEL", KEYS[1], "r", "b", "t")
elseif ARGV[7] ~= "" then
  redis.call("HSET", KEYS[1], "t", ARGV[6], "r", ARGV[7], "b", ARGV[8])
end
if #ARGV > 9 then
  local added = redis.pcall("XADD", KEYS[2], unpack(ARGV, 10))
  if added.err and not string.find(added.err, "equal or smaller") then return added end
end
redis.call("PEXPIRE", KEYS[1], ARGV[5])
redis.call("PEXPIRE", KEYS[2], ARGV[5])
return 1
