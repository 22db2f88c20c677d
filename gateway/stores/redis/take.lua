-- Decides on the demands of one or more requests: for each request all of them are met, or none.
--
-- KEYS: one for each demand. ARGV: one JSON list with a list for each request, of its demands, each
-- a list of kind, amount, size, per_s, ttl_ms, holder (see demand.py).
-- Returns, for each request: the number of the refused demand or -1; then for each of its demands
-- what remains, and the wait in µs.
--
-- The clock is Redis's own, so that what the gateways' clocks say does not matter. Times are µs
-- since 2025, which a double holds with a precision of 1/128 µs.
local time = redis.call('TIME')
local now = (tonumber(time[1]) - 1735689600) * 1e6 + tonumber(time[2])
local TAKE, LEASE, SPEND, ADJUST, RELEASE, RENEW = 1, 2, 3, 4, 5, 6
local EPSILON = 0.001
local LONGEST_MS = 1e13 -- 300 years: what has more digits, Lua does not write as an integer

local function full_at(key)
  return math.max(tonumber(redis.call('GET', key) or 0), now)
end

local function set_full_at(key, at)
  if at <= now then
    redis.call('DEL', key)
  else
    local ms = math.min(math.ceil((at - now) / 1000) + 1000, LONGEST_MS)
    redis.call('SET', key, string.format('%.3f', at), 'PX', ms)
  end
end

-- Whether a demand can be met; what remains; the wait.
local function judge(key, d)
  if d.kind == TAKE then
    local depth = d.size / d.per_s * 1e6
    local full = full_at(key)
    local after = full + d.amount / d.per_s * 1e6
    local wait = after - now - depth
    if wait > EPSILON and (d.amount <= d.size or full > now + EPSILON) then
      if d.amount > d.size then wait = full - now end
      return false, math.floor(math.max(0, depth - (full - now)) * d.per_s / 1e6 + EPSILON), wait
    end
    return true, math.floor(math.max(0, depth - (after - now)) * d.per_s / 1e6 + EPSILON), after - now
  elseif d.kind == LEASE then
    redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
    local held = redis.call('ZCARD', key)
    if held + d.amount > d.size then
      local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
      return false, 0, math.max(0, tonumber(first[2] or now) - now)
    end
    return true, d.size - held - d.amount, 0
  elseif d.kind == SPEND then
    local left = d.size - tonumber(redis.call('GET', key) or 0)
    if left <= 0 or d.amount > left then return false, math.floor(math.max(0, left)), d.ttl_ms * 1000 end
    return true, math.floor(left - d.amount), d.ttl_ms * 1000
  end
  return true, 0, 0
end

local function apply(key, d)
  if d.amount == 0 then return end
  if d.kind == TAKE or d.kind == ADJUST then
    set_full_at(key, full_at(key) + d.amount / d.per_s * 1e6)
  elseif d.kind == LEASE or (d.kind == RENEW and redis.call('ZSCORE', key, d.holder)) then
    redis.call('ZADD', key, now + d.ttl_ms * 1000, d.holder)
    if redis.call('PTTL', key) < d.ttl_ms then redis.call('PEXPIRE', key, d.ttl_ms) end
  elseif d.kind == RELEASE then
    redis.call('ZREM', key, d.holder)
  elseif d.kind ~= RENEW then
    -- What was spent before may be lost or reset: that gives no credit.
    if tonumber(redis.call('INCRBYFLOAT', key, d.amount)) < 0 then redis.call('SET', key, '0') end
    redis.call('PEXPIRE', key, d.ttl_ms)
  end
end

local said = {}
local key = 1
for _, request in ipairs(cjson.decode(ARGV[1])) do
  local demands, refused, longest = {}, -1, -1
  local verdict = #said + 1
  said[verdict] = -1
  for i, f in ipairs(request) do
    local d = {kind = f[1], amount = f[2], size = f[3], per_s = f[4], ttl_ms = f[5], holder = f[6]}
    local met, remaining, wait = judge(KEYS[key + i - 1], d)
    if not met and wait > longest then refused, longest = i - 1, wait end
    demands[i] = d
    said[#said + 1] = remaining
    said[#said + 1] = math.ceil(math.min(wait, LONGEST_MS * 1000))
  end
  said[verdict] = refused
  if refused < 0 then
    for i, d in ipairs(demands) do apply(KEYS[key + i - 1], d) end
  end
  key = key + #demands
end
return said
