"""What the Redis store runs inside the server: each script is one atomic step.

Keys, all below a prefix with one hash tag, so that a cluster keeps them together:

    meta                  hash: epoch (of this content), mark (changes also when something was lost), seq, schema
    feed                  sorted set: by seq, `c<SLOT>US<RULE>US<TRACK>US<KEY>` or `s<RULE>US<KEY>`; US is chr(31)
    c:RULE US TRACK US KEY   hash: slot -> four doubles (USD, estimated USD, unpriced, calls)
    states                hash: RULE US KEY -> VERSION US TOUCHED_AT US JSON
    w:WRITER              hash: n, the last number; r, parts of its sums that were brought back
    r:RULE US KEY         sorted set: by expiry, USD as a double and LEASE
    lease:LEASE           hash: key of such a set -> its member
    reserved              set: RULE US KEY of those sets
    outbox                sorted set: by place, id;  bodies, attempts, untils: hashes by id

The first argument of each script is the prefix; sums travel as binary doubles, exactly.
"""

from __future__ import annotations

from typing import Final

SCHEMA: Final = 1
KEEP_S: Final = 400 * 86_400
"""What nobody has changed or used for so long is gone."""
WRITERS_KEEP_S: Final = 30 * 86_400
"""The last number of a process that has not been seen for so long is gone."""
DEAD_LEASES_KEEP_S: Final = 86_400
"""A reservation that has expired is kept so long, in case its holder still renews it."""

_PRELUDE: Final = (
    """
local P = ARGV[1]
local META, FEED, STATES = P .. 'meta', P .. 'feed', P .. 'states'
local US = '\\31'
local KEEP = """
    + str(KEEP_S)
    + """
local function place(cell)
  local at = string.find(cell, US, 2, true)
  return P .. 'c:' .. string.sub(cell, at + 1), string.sub(cell, 2, at - 1)
end
local function add(first, last, seq)
  local entries = {}
  for i = first, last, 2 do
    local hash, slot = place(ARGV[i])
    local packed = ARGV[i + 1]
    local stored = redis.call('HGET', hash, slot)
    if stored then
      local usd, estimated, unpriced, calls = struct.unpack('<dddd', packed)
      local a, b, c, d = struct.unpack('<dddd', stored)
      packed = struct.pack('<dddd', usd + a, estimated + b, unpriced + c, calls + d)
    end
    redis.call('HSET', hash, slot, packed)
    redis.call('EXPIRE', hash, KEEP)
    seq = seq + 1
    entries[#entries + 1] = seq
    entries[#entries + 1] = ARGV[i]
    if #entries >= 1000 then
      redis.call('ZADD', FEED, unpack(entries))
      entries = {}
    end
  end
  if #entries > 0 then redis.call('ZADD', FEED, unpack(entries)) end
  redis.call('HSET', META, 'seq', seq)
  return seq
end
local function release(lease)
  local record = P .. 'lease:' .. lease
  local held = redis.call('HGETALL', record)
  for i = 1, #held, 2 do redis.call('ZREM', held[i], held[i + 1]) end
  if #held > 0 then redis.call('DEL', record) end
end
local function hold(lease, id, usd, expires_at, keep)
  local record, set = P .. 'lease:' .. lease, P .. 'r:' .. id
  local member = struct.pack('<d', tonumber(usd)) .. lease
  redis.call('ZADD', set, expires_at, member)
  if redis.call('TTL', set) < tonumber(keep) then redis.call('EXPIRE', set, keep) end
  redis.call('HSET', record, set, member)
  redis.call('EXPIRE', record, keep)
  redis.call('SADD', P .. 'reserved', id)
  redis.call('EXPIRE', P .. 'reserved', KEEP)
end
local function touch()
  redis.call('EXPIRE', META, KEEP)
  redis.call('EXPIRE', FEED, KEEP)
  redis.call('EXPIRE', STATES, KEEP)
end
"""
)

EXCHANGE: Final = (
    _PRELUDE
    + """
-- 2 candidate for a new mark, 3 mark and 4 seq of the cursor, 5 most to return, 6 writer or '', 7 number,
-- 8 epoch this process knows or '', 9 how many known writers, then pairs (writer, acknowledged); how many cells, then
-- pairs; leases
local epoch, mark, seq = unpack(redis.call('HMGET', META, 'epoch', 'mark', 'seq'))
if not epoch then
  epoch, mark, seq = ARGV[2], ARGV[2], '0'
  redis.call('HSET', META, 'epoch', epoch, 'mark', mark, 'seq', seq, 'schema', """
    + str(SCHEMA)
    + """)
  touch()
end
seq = tonumber(seq)
local at = 10
local lost = {}
for i = 1, tonumber(ARGV[9]) do
  local writer = P .. 'w:' .. ARGV[at]
  local number = redis.call('HGET', writer, 'n')
  if not number or tonumber(number) < tonumber(ARGV[at + 1]) then
    lost[#lost + 1] = ARGV[at]
    lost[#lost + 1] = number or ''
  else
    redis.call('EXPIRE', writer, """
    + str(WRITERS_KEEP_S)
    + """)
  end
  at = at + 2
end
if #lost > 0 or (ARGV[8] ~= '' and ARGV[8] ~= epoch) then return {'lost', epoch, mark, lost} end
local since = tonumber(ARGV[4])
if ARGV[3] == mark and since > seq then
  mark = ARGV[2]
  redis.call('HSET', META, 'mark', mark)
end
if ARGV[6] ~= '' then
  local writer = P .. 'w:' .. ARGV[6]
  if tonumber(ARGV[7]) > tonumber(redis.call('HGET', writer, 'n') or '0') then
    redis.call('HSET', writer, 'n', ARGV[7])
    redis.call('EXPIRE', writer, """
    + str(WRITERS_KEEP_S)
    + """)
    local last = at + 2 * tonumber(ARGV[at])
    seq = add(at + 1, last, seq)
    for i = last + 1, #ARGV do release(ARGV[i]) end
    touch()
  end
end
if ARGV[3] ~= mark then since = 0 end
local most = tonumber(ARGV[5])
local changed = redis.call('ZRANGEBYSCORE', FEED, '(' .. since, '+inf', 'WITHSCORES', 'LIMIT', 0, most)
local out, last = {}, seq
for i = 1, #changed, 2 do
  local id = changed[i]
  local value
  if string.sub(id, 1, 1) == 'c' then
    value = redis.call('HGET', place(id))
  else
    value = redis.call('HGET', STATES, string.sub(id, 2))
  end
  if value then
    out[#out + 1] = id
    out[#out + 1] = value
  else
    redis.call('ZREM', FEED, id)
  end
end
local more = 0
if #changed == 2 * most then
  last = changed[#changed]
  more = 1
end
return {'ok', epoch, mark, tostring(last), more, out}
"""
)

RESTORE: Final = (
    _PRELUDE
    + """
-- Brings the sums of a process back to a server that has lost all. 2 epoch, 3 writer, 4 number once all is there,
-- 5 which part this is, 6 of how many, then pairs (cell, sums)
local epoch, seq = unpack(redis.call('HMGET', META, 'epoch', 'seq'))
if epoch ~= ARGV[2] then return 0 end
local writer = P .. 'w:' .. ARGV[3]
local number, parts = unpack(redis.call('HMGET', writer, 'n', 'r'))
if number or tonumber(parts or '0') ~= tonumber(ARGV[5]) then return 1 end
add(7, #ARGV, tonumber(seq))
redis.call('HSET', writer, 'r', tonumber(ARGV[5]) + 1)
if tonumber(ARGV[5]) + 1 >= tonumber(ARGV[6]) then redis.call('HSET', writer, 'n', ARGV[4]) end
redis.call('EXPIRE', writer, """
    + str(WRITERS_KEEP_S)
    + """)
touch()
return 1
"""
)

REPLAY: Final = (
    _PRELUDE
    + """
-- Sends one delivery again that a server has lost with the end of its log. 2 epoch, 3 mark that was seen, 4 new mark,
-- 5 writer, 6 number, 7 how many cells, then pairs (cell, sums); leases
local epoch, mark, seq = unpack(redis.call('HMGET', META, 'epoch', 'mark', 'seq'))
if epoch ~= ARGV[2] then return 0 end
if mark == ARGV[3] then redis.call('HSET', META, 'mark', ARGV[4]) end
local writer = P .. 'w:' .. ARGV[5]
if tonumber(ARGV[6]) > tonumber(redis.call('HGET', writer, 'n') or '0') then
  local last = 7 + 2 * tonumber(ARGV[7])
  add(8, last, tonumber(seq))
  for i = last + 1, #ARGV do release(ARGV[i]) end
  redis.call('HSET', writer, 'n', ARGV[6])
  redis.call('EXPIRE', writer, """
    + str(WRITERS_KEEP_S)
    + """)
  touch()
end
return 1
"""
)

RESTORE_STATES: Final = (
    _PRELUDE
    + """
-- Stores states that are newer than the stored ones. 2 epoch, then triples (RULE US KEY, version, value)
local epoch, seq = unpack(redis.call('HMGET', META, 'epoch', 'seq'))
if epoch ~= ARGV[2] then return 0 end
seq = tonumber(seq)
for i = 3, #ARGV, 3 do
  local stored = redis.call('HGET', STATES, ARGV[i])
  local version = stored and tonumber(string.match(stored, '^(%d+)')) or 0
  if version < tonumber(ARGV[i + 1]) then
    seq = seq + 1
    redis.call('HSET', STATES, ARGV[i], ARGV[i + 2])
    redis.call('ZADD', FEED, seq, 's' .. ARGV[i])
  end
end
redis.call('HSET', META, 'seq', seq)
touch()
return 1
"""
)

RESTORE_LEASES: Final = (
    _PRELUDE
    + """
-- Reserves again what a process still holds. 2 epoch, then fives (lease, RULE US KEY, USD, expires_at, seconds to keep)
if redis.call('HGET', META, 'epoch') ~= ARGV[2] then return 0 end
for i = 3, #ARGV, 5 do
  if not redis.call('HGET', P .. 'lease:' .. ARGV[i], P .. 'r:' .. ARGV[i + 1]) then
    hold(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4])
  end
end
return 1
"""
)

TRANSITION: Final = (
    _PRELUDE
    + """
-- 2 candidate, 3 RULE US KEY, 4 version, 5 value, 6 what this process knows as the state before it or '',
-- 7 most alerts, then triples (id, body, attempts)
local seq = redis.call('HGET', META, 'seq')
if not seq then
  seq = '0'
  redis.call('HSET', META, 'epoch', ARGV[2], 'mark', ARGV[2], 'seq', seq, 'schema', """
    + str(SCHEMA)
    + """)
end
local stored = redis.call('HGET', STATES, ARGV[3])
local version = stored and tonumber(string.match(stored, '^(%d+)')) or 0
local before = tonumber(ARGV[4]) - 1
-- A server that has lost the state before this one takes it from the process that has seen it.
if version ~= before and not (version < before and ARGV[6] ~= '') then return -1 end
seq = tonumber(seq) + 1
redis.call('HSET', META, 'seq', seq)
redis.call('HSET', STATES, ARGV[3], ARGV[5])
redis.call('ZADD', FEED, seq, 's' .. ARGV[3])
touch()
local OUTBOX, BODIES, ATTEMPTS, UNTILS = P .. 'outbox', P .. 'bodies', P .. 'attempts', P .. 'untils'
local room = tonumber(ARGV[7]) - redis.call('ZCARD', OUTBOX)
local dropped = 0
for i = 8, #ARGV, 3 do
  local id = ARGV[i]
  if not redis.call('ZSCORE', OUTBOX, id) then
    if room <= 0 then
      dropped = dropped + 1
    else
      room = room - 1
      local last = redis.call('ZREVRANGE', OUTBOX, 0, 0, 'WITHSCORES')
      redis.call('ZADD', OUTBOX, tonumber(last[2] or '0') + 1, id)
      redis.call('HSET', BODIES, id, ARGV[i + 1])
      redis.call('HSET', ATTEMPTS, id, ARGV[i + 2])
    end
  end
end
for _, key in ipairs({OUTBOX, BODIES, ATTEMPTS, UNTILS}) do redis.call('EXPIRE', key, KEEP) end
return dropped
"""
)

RESERVE: Final = (
    _PRELUDE
    + """
-- 2 lease, 3 now, 4 expires_at, 5 epoch this process knows or '', 6 writer or '', 7 acknowledged, 8 seconds to keep it,
-- then for each claim: rule, track, key, first slot, limit, wanted in all of this rule and key
if ARGV[5] ~= '' then
  if redis.call('HGET', META, 'epoch') ~= ARGV[5] then return 'lost' end
  if ARGV[6] ~= '' then
    local number = redis.call('HGET', P .. 'w:' .. ARGV[6], 'n')
    if not number or tonumber(number) < tonumber(ARGV[7]) then return 'lost' end
  end
end
local now, lease = tonumber(ARGV[3]), ARGV[2]
local fits, wants, standings = true, false, {}
for i = 9, #ARGV, 6 do
  local rule, track, key = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local first, limit = tonumber(ARGV[i + 3]), tonumber(ARGV[i + 4])
  local spent, unpriced, reserved = 0, 0, 0
  local cells = redis.call('HGETALL', P .. 'c:' .. rule .. US .. track .. US .. key)
  for j = 1, #cells, 2 do
    if tonumber(cells[j]) >= first then
      local usd, _, without = struct.unpack('<ddd', cells[j + 1])
      spent, unpriced = spent + usd, unpriced + without
    end
  end
  local set = P .. 'r:' .. rule .. US .. key
  local own = redis.call('HGET', P .. 'lease:' .. lease, set)
  local held = redis.call('ZRANGEBYSCORE', set, '(' .. ARGV[3], '+inf')
  for j = 1, #held do
    if held[j] ~= own then reserved = reserved + struct.unpack('<d', held[j]) end
  end
  if not (spent + reserved + tonumber(ARGV[i + 5]) <= limit) then fits = false end
  if tonumber(ARGV[i + 5]) > 0 then wants = true end
  standings[#standings + 1] = struct.pack('<ddd', spent, reserved, unpriced)
end
if wants then release(lease) end
if fits then
  for i = 9, #ARGV, 6 do
    if tonumber(ARGV[i + 5]) > 0 then
      local id = ARGV[i] .. US .. ARGV[i + 2]
      redis.call('ZREMRANGEBYSCORE', P .. 'r:' .. id, '-inf', now - """
    + str(DEAD_LEASES_KEEP_S)
    + """)
      hold(lease, id, ARGV[i + 5], ARGV[4], ARGV[8])
    end
  end
end
return {fits and 1 or 0, standings}
"""
)

RENEW: Final = (
    _PRELUDE
    + """
-- 2 expires_at, 3 seconds to keep them, then leases
for i = 4, #ARGV do
  local record = P .. 'lease:' .. ARGV[i]
  local held = redis.call('HGETALL', record)
  for j = 1, #held, 2 do
    local until_ = redis.call('ZSCORE', held[j], held[j + 1])
    if until_ and tonumber(until_) < tonumber(ARGV[2]) then
      redis.call('ZADD', held[j], ARGV[2], held[j + 1])
    end
    if redis.call('TTL', held[j]) < tonumber(ARGV[3]) then redis.call('EXPIRE', held[j], ARGV[3]) end
  end
  if redis.call('TTL', record) < tonumber(ARGV[3]) then redis.call('EXPIRE', record, ARGV[3]) end
end
return 1
"""
)

RESERVED: Final = (
    _PRELUDE
    + """
-- 2 now; returns pairs (RULE US KEY, double)
local out = {}
for _, id in ipairs(redis.call('SMEMBERS', P .. 'reserved')) do
  local sum, any = 0, false
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', P .. 'r:' .. id, '(' .. ARGV[2], '+inf')) do
    sum, any = sum + struct.unpack('<d', member), true
  end
  if any then
    out[#out + 1] = id
    out[#out + 1] = struct.pack('<d', sum)
  end
end
return out
"""
)

TAKE: Final = (
    _PRELUDE
    + """
-- 2 now, 3 until, 4 limit; returns triples (id, body, attempts)
local out, taken, waits = {}, 0, {}
local UNTILS, ATTEMPTS = P .. 'untils', P .. 'attempts'
for _, id in ipairs(redis.call('ZRANGE', P .. 'outbox', 0, -1)) do
  if taken >= tonumber(ARGV[4]) then break end
  local group = string.match(id, '^[^.]*') .. ':' .. string.match(id, '[^:]*$')
  if tonumber(redis.call('HGET', UNTILS, id) or '-inf') > tonumber(ARGV[2]) then
    waits[group] = true
  elseif not waits[group] then
    taken = taken + 1
    redis.call('HSET', UNTILS, id, ARGV[3])
    out[#out + 1] = id
    out[#out + 1] = redis.call('HGET', P .. 'bodies', id)
    out[#out + 1] = redis.call('HINCRBY', ATTEMPTS, id, 1) - 1
  end
end
if taken > 0 then redis.call('EXPIRE', UNTILS, KEEP) end
return out
"""
)

FINISH: Final = (
    _PRELUDE
    + """
redis.call('ZREM', P .. 'outbox', ARGV[2])
for _, name in ipairs({'bodies', 'attempts', 'untils'}) do redis.call('HDEL', P .. name, ARGV[2]) end
return 1
"""
)

POSTPONE: Final = (
    _PRELUDE
    + """
if redis.call('ZSCORE', P .. 'outbox', ARGV[2]) then
  redis.call('HSET', P .. 'untils', ARGV[2], ARGV[3])
  redis.call('EXPIRE', P .. 'untils', KEEP)
end
return 1
"""
)

DROP: Final = (
    _PRELUDE
    + """
-- 2 states touched before this are forgotten, then members of the feed to forget
for i = 3, #ARGV do
  local id = ARGV[i]
  if string.sub(id, 1, 1) == 'c' then
    redis.call('HDEL', place(id))
    redis.call('ZREM', FEED, id)
  else
    local stored = redis.call('HGET', STATES, string.sub(id, 2))
    if not stored or tonumber(string.match(stored, '^%d+\\31([^\\31]*)')) < tonumber(ARGV[2]) then
      redis.call('HDEL', STATES, string.sub(id, 2))
      redis.call('ZREM', FEED, id)
    end
  end
end
return 1
"""
)

DROP_LEASES: Final = (
    _PRELUDE
    + """
-- 2 now: reservations that have expired by then
for _, id in ipairs(redis.call('SMEMBERS', P .. 'reserved')) do
  local set = P .. 'r:' .. id
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', set, '-inf', ARGV[2])) do
    release(string.sub(member, 9))
  end
  redis.call('ZREMRANGEBYSCORE', set, '-inf', ARGV[2])
  if redis.call('EXISTS', set) == 0 then redis.call('SREM', P .. 'reserved', id) end
end
return 1
"""
)

SCAN: Final = (
    _PRELUDE
    + """
-- 2 where to go on, 3 about how many
return redis.call('ZSCAN', FEED, ARGV[2], 'COUNT', ARGV[3])
"""
)
