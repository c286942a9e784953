/**
 * Lua shared by the scripts that know holds. A hold is one packed record: state, expiry, what it expires as, the wait
 * it was given, and its charges `{key, kind, parameters, settles, estimate, live, where, generation, rule, unit}`. Open
 * ones are in a set ordered by expiry, from which every script that looks at money ends a few that are overdue.
 */
export const HOLDS: string = `
local SWEEP = 16

local function moved(key, kind, params)
  local v = call('GET', key)
  if v and byte(v, 1) == 62 then
    local k2, p2, key2 = match(v, '^>(.)|(.-)|(.*)$')
    return key2, k2, p2, call('GET', key2), true
  end
  return key, kind, params, v, false
end

-- Makes a charge larger or smaller where it was made. Returns use before and after; nothing when that is gone.
local function amend(ch, by, heldBy, at)
  ch[6] = ch[6] + by
  local key, kind, params, v, away = moved(ch[1], ch[2], ch[3])
  if kind == 'n' then
    if by >= 0 or not v then return end
    local st, member = load(key, kind, params, v), ch[7][1]
    local score = call('ZSCORE', key .. ':z', member)
    if not score then return end
    call('ZREM', key .. ':z', member)
    if tonumber(score) > now then st.used = st.used - tonumber(sub(member, 33)) end
    save(st)
    return
  end
  if kind == 'c' and v then params = sub(v, 1, 32) .. format('%016d', FOREVER) end
  if kind == 'c' and not v then return end
  local st = load(key, kind, params, v)
  if not st or (not away and st.gen ~= ch[8]) then return end
  local before = units(st)
  if away then
    if by < 0 then giveBack(st, -by, now) elseif by > 0 then charge(st, by, now) end
    st.held = max(0, st.held + heldBy)
  elseif kind == 'b' then
    local change = by * st.int
    if by < 0 then
      -- What has come back by itself is not given back a second time.
      local left = max(0, (ch[7][1] - at) * ch[7][3] + ch[7][2])
      if ch[7][4] ~= st.int then left = floor(left / ch[7][4] * st.int) end
      change = -min(-change, left)
    end
    st.d = min(DEEPEST, max(0, st.d + change))
    st.held = max(0, st.held + heldBy)
  elseif kind == 's' then
    if ch[7][1] + st.period <= now then return end
    local p, length = #st.body - 23, #st.body
    while p > 0 do
      local stamp, amount, held = unpack8('>ddd', st.body, p)
      if stamp == ch[7][1] then
        local to = max(0, amount + by)
        local part = max(0, min(to, held + heldBy))
        st.used, st.held = st.used + to - amount, st.held + part - held
        st.body = sub(st.body, 1, p - 1) .. pack('>ddd', stamp, to, part) .. sub(st.body, p + 24)
        break
      end
      p = p - 24
    end
  else
    if not st.known or st.s ~= ch[7][1] then return end
    st.used = max(0, st.used + by)
    st.held = max(0, min(st.used, st.held + heldBy))
  end
  save(st, ch[4])
  return before, units(st)
end

local function put(key, record, ms)
  call('SET', key, cmsgpack.pack(record), 'PX', format('%d', max(ceil(ms), lowest)))
end

-- Ends a hold that is overdue, as of the moment it was due.
local function expire(key, record, index)
  local at = record[2]
  for _, ch in ipairs(record[5]) do
    if ch[2] == 'n' then
      amend(ch, -ch[6], 0, at)
    elseif ch[4] then
      local back = record[3] == 'f' and ch[6] or 0
      amend(ch, -back, -ch[5], at)
    end
  end
  record[1] = 'expired'
  put(key, record, slack)
  call('ZREM', index, sub(key, #index + 2))
end

local function sweep(index)
  for _, id in ipairs(call('ZRANGEBYSCORE', index, '-inf', format('%d', now), 'LIMIT', 0, SWEEP)) do
    local key = sub(index, 1, -2) .. 'h:' .. id
    local v = call('GET', key)
    if v then expire(key, cmsgpack.unpack(v), index) else call('ZREM', index, id) end
  end
end
`;
