/**
 * Lua shared by the scripts: how a counter is read, charged, given back and written. Numbers are integers in doubles;
 * they are formatted explicitly, because `tostring` keeps 14 digits. Times are microseconds, always taken relative to
 * now before they become ticks, so that nothing leaves 53 bits.
 *
 * Values say themselves how to read them, so that variants share them:
 * bucket `micros(16) ticks(2) ticksPerMicro(2) interval[:held:generation]`, the moment at which it is full again;
 * window `start(16) end(16) used[:held:generation]`; sliding: packed doubles, a head of generation, used and held,
 * then stamp, amount and held of every charge; slots `firstExpiry(16) lastExpiry(16) used` beside a set of members by
 * expiry; `>kind|parameters|key`: moved, by a rule that replaced this one. A generation tells a hold of a reset.
 */
export const STATES: string = `
local call, format, sub, byte, find, match = redis.call, string.format, string.sub, string.byte, string.find, string.match
local floor, ceil, max, min = math.floor, math.ceil, math.max, math.min
local pack, unpack8 = struct.pack, struct.unpack
local FOREVER, DEEPEST, KEPT = 9007199254740991, 4503599627370496, 3024000000
local now, lowest, slack

local function div(a, b)
  local q = floor(a / b)
  if q * b > a then return q - 1 end
  return q
end

local function up(a, b)
  local q = div(a, b)
  if q * b < a then return q + 1 end
  return q
end

local function scaled(d, to, from)
  if to == from then return d end
  local q = div(d, from)
  return min(DEEPEST, q * to + ceil((d - q * from) * to / from))
end

local function clock(given)
  if given ~= '' then return tonumber(given) end
  local t = call('TIME')
  return t[1] * 1000000 + t[2]
end

local load

local function blank(kind, params)
  local st = { k = kind, params = params, used = 0, held = 0, gen = 0 }
  if kind == 'b' then
    st.res, st.int, st.d = tonumber(sub(params, 1, 2)), tonumber(sub(params, 3)), 0
  elseif kind == 's' then
    st.q, st.period, st.body = tonumber(sub(params, 1, 16)), tonumber(sub(params, 17)), ''
  elseif kind == 'n' then
    st.lb, st.ub = FOREVER, 0
  end
  return st
end

local function units(st)
  if st.k == 'b' then return up(st.d, st.int) end
  return st.used
end

-- A sub-window counts until all of it has left.
local function stampOf(st, at)
  if st.q == 1 then return at end
  return at - at % st.q + st.q
end

local function window(st)
  if st.k == 't' then
    st.s, st.e = 0, FOREVER
  elseif st.k == 'f' then
    st.s, st.e = now, now + tonumber(st.params)
  else
    local s0, e0, e1 = tonumber(sub(st.params, 1, 16)), tonumber(sub(st.params, 17, 32)), tonumber(sub(st.params, 33, 48))
    if now < s0 or now >= e1 then return false end
    if now < e0 then st.s, st.e = s0, e0 else st.s, st.e = e0, e1 end
  end
  return true
end

-- What another counter has used becomes what this one has used.
local function carry(st, from)
  if st.k == 'b' then
    if from.k == 'b' then st.d = scaled(from.d, st.int, from.int) else st.d = min(DEEPEST, from.used * st.int) end
  elseif st.k == 's' then
    local used = units(from)
    if used > 0 then st.body, st.used = pack('>ddd', stampOf(st, now), used, min(from.held, used)), used end
  elseif st.k == 'n' then
    if from.k ~= 'n' then return end
    st.used, st.lb, st.ub, st.moved, st.dead = from.used, from.lb, from.ub, from.key, from.dead
  else
    st.used = units(from)
    if st.used > 0 and not st.s then window(st) end
  end
  st.held = min(from.held, units(st))
end

-- Nil: a calendar window that the caller's clock did not foresee.
load = function(key, kind, params, v, alone)
  local st = blank(kind, params)
  st.key = key
  if v and byte(v, 1) == 62 then
    local k2, p2, key2 = match(v, '^>(.)|(.-)|(.*)$')
    v = false
    if not alone then
      local there = call('GET', key2)
      local from = there and load(key2, k2, p2, there, true)
      if from then carry(st, from) end
    end
  end
  st.known = v and true or false
  if kind == 'b' then
    if v then
      local rate, p = sub(v, 19), find(v, ':', 19, true)
      if p then
        local held, gen = match(v, '^:(%d+):(%d+)$', p)
        st.held, st.gen, rate = tonumber(held), tonumber(gen), sub(v, 19, p - 1)
      end
      local res = tonumber(sub(rate, 1, 2))
      local d = (tonumber(sub(v, 1, 16)) - now) * res + tonumber(sub(v, 17, 18))
      if d < 0 then d = 0 end
      local int = tonumber(sub(rate, 3))
      st.d = scaled(d, st.int, int)
      -- Until the next charge, units come back at the rate of the variant that was charged last.
      if int ~= st.int or res ~= st.res then st.last = { d, int, res } end
    end
  elseif kind == 's' then
    if v then
      st.gen, st.used, st.held = unpack8('>ddd', v)
      local p, length = 25, #v
      while p <= length do
        local at, amount, held = unpack8('>ddd', v, p)
        if at + st.period > now then break end
        st.used, st.held, p = st.used - amount, st.held - held, p + 24
      end
      st.body = sub(v, p)
    end
  elseif kind == 'n' then
    if v then
      st.lb, st.ub, st.used = tonumber(sub(v, 1, 16)), tonumber(sub(v, 17, 32)), tonumber(sub(v, 33))
      if st.lb <= now then
        st.dead = true
        for _, member in ipairs(call('ZRANGEBYSCORE', key .. ':z', '-inf', format('%d', now))) do
          st.used = st.used - tonumber(sub(member, 33))
        end
      end
    end
  else
    if v then
      local e, used, held, gen = tonumber(sub(v, 17, 32)), tonumber(sub(v, 33)), 0, 0
      if not used then
        local u, h, g = match(v, '^(%d+):(%d+):(%d+)$', 33)
        used, held, gen = tonumber(u), tonumber(h), tonumber(g)
      end
      st.gen = gen
      if e > now then st.s, st.e, st.used, st.held = tonumber(sub(v, 1, 16)), e, used, held end
    end
    if not st.s then
      if kind ~= 'f' and not window(st) then return nil end
    end
  end
  return st
end

-- Microseconds until the cost fits: 0 now, -1 never by waiting, for slots the first expiry.
local function wait(st, cost, limit)
  if cost == 0 then return 0 end
  if cost > limit then return -1 end
  if st.k == 'b' then
    local d, int, res = st.d, st.int, st.res
    if st.last then d, int, res = st.last[1], st.last[2], st.last[3] end
    local missing = d - (limit - cost) * int
    if missing <= 0 then return 0 end
    return up(missing, res)
  end
  if st.used + cost <= limit then return 0 end
  if st.k == 's' then
    local used, p, length = st.used, 1, #st.body
    while p <= length do
      local at, amount = unpack8('>dd', st.body, p)
      used, p = used - amount, p + 24
      if used + cost <= limit then return at + st.period - now end
    end
    return -1
  end
  if st.k == 'n' then
    local first = call('ZRANGEBYSCORE', (st.moved or st.key) .. ':z', '(' .. format('%d', now), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
    return first[2] and tonumber(first[2]) - now or -1
  end
  if st.k == 't' then return -1 end
  return st.e - now
end

-- Microseconds until nothing is in use, or the window ends; -1: only a reset helps.
local function reset(st)
  if st.k == 'b' then
    if st.last then return up(st.last[1], st.last[3]) end
    return up(st.d, st.res)
  end
  if st.k == 's' then
    local p = #st.body - 23
    while p > 0 do
      local at, amount = unpack8('>dd', st.body, p)
      if amount > 0 then return at + st.period - now end
      p = p - 24
    end
    return 0
  end
  if st.k == 'n' or st.k == 't' then return st.used > 0 and -1 or 0 end
  return st.e and st.e - now or 0
end

-- Takes the charge in; returns where it was put, which is what a hold needs to find it again.
local function charge(st, cost, at, held, member, expiry)
  if held then st.held = st.held + cost end
  if st.k == 'b' then
    st.d = min(DEEPEST, max(st.d, (at - now) * st.res) + cost * st.int)
    local q = div(st.d, st.res)
    return now + q, st.d - q * st.res, st.res, st.int
  end
  st.used = st.used + cost
  if st.k == 's' then
    local stamp = stampOf(st, at)
    local length = #st.body
    if length > 0 then
      local last, amount, part = unpack8('>ddd', st.body, length - 23)
      if last >= stamp then
        st.body = sub(st.body, 1, length - 24) .. pack('>ddd', last, amount + cost, part + (held and cost or 0))
        return last
      end
    end
    st.body = st.body .. pack('>ddd', stamp, cost, held and cost or 0)
    return stamp
  end
  if st.k == 'n' then
    if not member then
      st.ub = max(st.ub, now + KEPT * 1000)
      return
    end
    st.add, st.addAt = member .. format('%d', cost), expiry
    st.lb, st.ub = min(st.lb, expiry), max(st.ub, expiry)
    return st.add
  end
  if not st.s then window(st) end
  return st.s
end

-- Gives back, newest first where charges are told apart.
local function giveBack(st, amount, at)
  if st.k == 'b' then
    st.d = max(0, st.d - amount * st.int)
  elseif st.k == 's' then
    if at + st.period <= now then return end
    local p = #st.body - 23
    while p > 0 and amount > 0 do
      local stamp, had, held = unpack8('>ddd', st.body, p)
      local part = min(had, amount)
      amount, st.used, st.held = amount - part, st.used - part, st.held - held + min(held, had - part)
      st.body = sub(st.body, 1, p - 1) .. pack('>ddd', stamp, had - part, min(held, had - part)) .. sub(st.body, p + 24)
      p = p - 24
    end
  elseif st.s and (st.k == 't' or at >= st.s) then
    st.used = max(0, st.used - amount)
    st.held = min(st.held, st.used)
  elseif st.k == 'n' then
    st.used = max(0, st.used - amount)
  end
end

local function save(st, money)
  local ms, v
  if st.k == 'b' then
    local q = div(st.d, st.res)
    v = format('%016d%02d%02d%d', now + q, st.d - q * st.res, st.res, st.int)
    if st.held > 0 or st.gen > 0 then v = v .. format(':%d:%d', st.held, st.gen) end
    ms = floor(q / 1000) + 2
    if st.held > 0 then ms = max(ms, slack) end
  elseif st.k == 's' then
    v = pack('>ddd', st.gen, st.used, st.held) .. st.body
    local length = #st.body
    ms = length > 0 and floor((unpack8('>d', st.body, length - 23) + st.period - now) / 1000) + 2 or 1
    if money then ms = ms + slack end
  elseif st.k == 'n' then
    local z = st.key .. ':z'
    if st.moved then
      call('RENAME', st.moved .. ':z', z)
    end
    if st.dead then
      call('ZREMRANGEBYSCORE', z, '-inf', format('%d', now))
      local first = call('ZRANGE', z, 0, 0, 'WITHSCORES')
      st.lb = min(first[2] and tonumber(first[2]) or FOREVER, st.addAt or FOREVER)
    end
    if st.add then call('ZADD', z, format('%d', st.addAt), st.add) end
    if st.used <= 0 then
      call('DEL', st.key, z)
      return
    end
    ms = max(floor((st.ub - now) / 1000) + 2, lowest)
    call('PEXPIRE', z, ms)
    v = format('%016d%016d%d', st.lb, st.ub, st.used)
  else
    if not st.s then
      if st.gen == 0 then return end
      st.s, st.e = 0, 0
    end
    v = format('%016d%016d%d', st.s, st.e, st.used)
    if st.held > 0 or st.gen > 0 then v = v .. format(':%d:%d', st.held, st.gen) end
    if st.k == 't' then
      call('SET', st.key, v)
      return
    end
    ms = max(1, floor((st.e - now) / 1000) + 2)
    if money then ms = ms + slack end
  end
  if st.gen > 0 then ms = max(ms, KEPT) end
  call('SET', st.key, v, 'PX', format('%d', max(ms, lowest)))
end
`;
