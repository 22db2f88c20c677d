"""Scripts of channels in Redis. Both take the keys of the events and of the channel's state.

The state is a hash: `f` is the floor, the id up to which events are gone; `l` the last id; `s` the
size of the events in bytes. It outlives the events, so that a client that returns later learns
whether it has missed any.
"""

from __future__ import annotations

_SHARED = """
local function parts(id)
  local ms, sequence = string.match(id, "^(%d+)-(%d+)$")
  return tonumber(ms), tonumber(sequence)
end
local time = redis.call("TIME")
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function last_id()
  local last = redis.call("HGET", KEYS[2], "l")
  if not last then
    last = string.format("%.0f-0", now - 1)
    redis.call("HSET", KEYS[2], "f", last, "l", last)
  end
  return last
end
"""

# The third key marks this publication. ARGV: numbers of events and bytes to keep; milliseconds to
# keep events, the state, and the mark; digest of the content; topic; name of the channel there;
# blocks. Returns the ids; those of the first time if the publication is repeated, and none if its
# content differs then.
PUBLISH = (
    _SHARED
    + """
local marked = redis.call("LRANGE", KEYS[3], 0, -1)
if #marked > 0 then
  if table.remove(marked, 1) ~= ARGV[6] then return {} end
  return marked
end
local ms, sequence = parts(last_id())
local ids, size = {}, 0
for i = 9, #ARGV do
  if now > ms then ms, sequence = now, 0 else sequence = sequence + 1 end
  ids[#ids + 1] = string.format("%.0f-%.0f", ms, sequence)
  redis.call("XADD", KEYS[1], ids[#ids], "b", ARGV[i])
  size = size + #ARGV[i]
end
local count = redis.call("XLEN", KEYS[1])
if count == #ids then redis.call("HSET", KEYS[2], "s", 0) end
size = redis.call("HINCRBY", KEYS[2], "s", size)
while count > 1 do
  local oldest = redis.call("XRANGE", KEYS[1], "-", "+", "COUNT", 1)[1]
  local is_young = parts(oldest[1]) >= now - ARGV[3]
  if count <= tonumber(ARGV[1]) and size <= tonumber(ARGV[2]) and is_young then break end
  redis.call("XDEL", KEYS[1], oldest[1])
  redis.call("HSET", KEYS[2], "f", oldest[1])
  count, size = count - 1, size - #oldest[2][2]
end
redis.call("HSET", KEYS[2], "l", ids[#ids], "s", size)
redis.call("PEXPIRE", KEYS[1], ARGV[3])
redis.call("PEXPIRE", KEYS[2], ARGV[4])
redis.call("RPUSH", KEYS[3], ARGV[6], unpack(ids))
redis.call("PEXPIRE", KEYS[3], ARGV[5])
redis.call("PUBLISH", ARGV[7], ARGV[8])
return ids
"""
)

# ARGV: id after which events are wanted; their maximum number; milliseconds to keep the state.
# Returns the floor, and the events with their ids. If Redis has lost the newest events in a
# failover, the floor rises above the last id that was seen: followers are told of a gap, and no
# later event gets an id that was given before.
FETCH = (
    _SHARED
    + """
local last = last_id()
redis.call("PEXPIRE", KEYS[2], ARGV[3])
local ms, sequence = parts(last)
local seen_ms, seen_sequence = parts(ARGV[1])
if seen_ms > ms or (seen_ms == ms and seen_sequence > sequence) then
  last = string.format("%.0f-%.0f", seen_ms, seen_sequence + 1)
  redis.call("HSET", KEYS[2], "f", last, "l", last)
  return {last, {}}
end
if redis.call("EXISTS", KEYS[1]) == 0 then return {last, {}} end
local entries = redis.call("XRANGE", KEYS[1], "(" .. ARGV[1], "+", "COUNT", ARGV[2])
local events = {}
for _, entry in ipairs(entries) do
  events[#events + 1] = entry[1]
  events[#events + 1] = entry[2][2]
end
return {redis.call("HGET", KEYS[2], "f"), events}
"""
)
