import { HOLDS } from './script-holds.ts';
import { STATES } from './script-states.ts';

/**
 * One decision over any rules, and everything else that works on the counters of an ask.
 * KEYS: a counter per part; then, by flags: the set of open holds and the hold, the marker, the counters carried over.
 * ARGV: operation, time or '' for the server's, latest time at which it may still act or '', number of parts, flags,
 * shortest TTL, slack; then four per part (kind, what it is (1 shadow, 2 settles, 4 charged by a later part), cost,
 * limit, parameters make five); then by flags.
 * Reply: 1 for a plain admission, else numbers in a text: status, time, wait, then five per part: used, held, wait,
 * reset, used after. Status: 0 refused, 1 admitted, 2 repeated, 3 ask again with this time, 4 as it stands; 5 taken.
 */
export const DECIDE: string = `${STATES}${HOLDS}
local op, n, flags = ARGV[1], tonumber(ARGV[4]), ARGV[5]
now, lowest, slack = clock(ARGV[2]), tonumber(ARGV[6]), tonumber(ARGV[7])
if ARGV[3] ~= '' and now > tonumber(ARGV[3]) then return format('3 %d 0', now) end
local function has(flag) return find(flags, flag, 1, true) end

local key, arg = n + 1, 8 + 5 * n
local index, hold
if has('h') then index, hold, key = KEYS[key], KEYS[key + 1], key + 2
elseif has('x') then index, key = KEYS[key], key + 1 end
local ttl, policy, labels, patience, at, ledger
if has('h') then ttl, policy, labels, arg = tonumber(ARGV[arg]), ARGV[arg + 1], arg + 1, arg + 2 + n end
if has('p') then patience, arg = tonumber(ARGV[arg]), arg + 1 end
if has('a') then at, arg = tonumber(ARGV[arg]), arg + 1 end
if has('m') then
  ledger, arg = call('GET', KEYS[key]), arg + 1
  if ledger ~= ARGV[arg - 1] then return 'L' .. (ledger or '') end
  key = key + 1
end

if index then sweep(index) end
if hold then
  local v = call('GET', hold)
  if v then
    local record = cmsgpack.unpack(v)
    if record[1] == 'open' and record[2] <= now then
      expire(hold, record, index)
    elseif record[1] == 'open' then
      return format('2 %d %d', now, record[4])
    end
  end
end

local states, values = {}, n > 0 and call('MGET', unpack(KEYS, 1, n)) or {}
local from = {}
if has('v') then
  while key <= #KEYS do
    local i = tonumber(ARGV[arg])
    if not values[i] then
      local v = call('GET', KEYS[key])
      if v and byte(v, 1) ~= 62 and not from[i] then
        from[i] = { KEYS[key], load(KEYS[key], ARGV[arg + 1], ARGV[arg + 2], v, true) }
      end
    end
    key, arg = key + 1, arg + 3
  end
end

local fits, longest, patient = true, 0, true
local waits, what, costs, limits, params = {}, {}, {}, {}, {}
for i = 1, n do
  local a = 3 + 5 * i
  local kind, p = ARGV[a], ARGV[a + 4]
  local st = load(KEYS[i], kind, p, values[i])
  if not st then return format('3 %d 0', now) end
  if from[i] and from[i][2] then carry(st, from[i][2]) end
  local cost, limit = tonumber(ARGV[a + 2]), tonumber(ARGV[a + 3])
  states[i], what[i], costs[i], limits[i], params[i] = st, tonumber(ARGV[a + 1]), cost, limit, p
  local w = cost > 0 and wait(st, cost, limit) or 0
  waits[i] = w
  if w ~= 0 and what[i] % 2 == 0 then
    fits = false
    if w < 0 or (kind ~= 'b' and kind ~= 's') then patient = false end
    longest = max(longest, w)
  end
end

local function answer(status, delay, before, after)
  local out, k = { format('%d %d %d', status, now, delay) }, 1
  for i = 1, n do
    local b = before[i]
    out[i + 1] = format('%d %d %d %d %d', b[1], b[2], waits[i], b[3], after[i] or b[1])
  end
  return table.concat(out, ' ')
end

local function standings()
  local all = {}
  for i = 1, n do
    local st = states[i]
    local used = units(st)
    all[i] = { used, min(st.held, used), reset(st) }
  end
  return all
end

local function commit(i)
  if from[i] then
    local p = states[i]
    local pointer = '>' .. p.k .. '|' .. params[i] .. '|' .. KEYS[i]
    call('SET', from[i][1], pointer, 'PX', '3024000000')
  end
  save(states[i], floor(what[i] / 2) % 2 == 1)
end

if op == 'i' then return answer(4, 0, standings(), {}) end

if op == 'd' or op == 'c' or op == 'o' then
  local delay = 0
  if op == 'o' then fits, waits = true, {} end
  for i = 1, n do waits[i] = waits[i] or 0 end
  if not fits and patience and patient and longest <= patience then fits, delay = true, longest end
  if op == 'c' or not fits then return answer(fits and 1 or 0, delay, standings(), {}) end
  local report = has('r')
  local before, after = report and standings(), {}
  local charges, expiry = {}, ttl and now + ttl
  local member = hold and sub(hold, -32)
  local last = {}
  for i = 1, n do
    local cost, shadowed = costs[i], what[i] % 2 == 1 and waits[i] ~= 0
    local settles = hold and floor(what[i] / 2) % 2 == 1
    -- An estimate of 0 may still come to something.
    if (cost > 0 or settles) and not shadowed then
      local st = states[i]
      if what[i] < 4 then
        local p1, p2, p3, p4 = charge(st, cost, now + delay, settles, member, expiry)
        if report then after[i] = units(st) end
        commit(i)
        if hold then
          local label = ARGV[labels + i]
          charges[#charges + 1] = { KEYS[i], st.k, params[i], settles, cost, cost, { p1, p2, p3, p4 }, st.gen, sub(label, 1, 16), sub(label, 17) }
        end
      end
    end
  end
  if hold then
    put(hold, { 'open', expiry, policy, delay, charges }, ttl / 1000 + KEPT)
    call('ZADD', index, format('%d', expiry), member)
  end
  if report then return answer(1, delay, before, after) end
  if delay > 0 then return format('1 %d %d', now, delay) end
  return 1
end

-- What an earlier part of the same key left; nil: none did.
local seen = {}
local function turn(i)
  local k = KEYS[i]
  if seen[k] then states[i] = load(k, ARGV[3 + 5 * i], params[i], call('GET', k)) end
  seen[k] = true
  return states[i]
end

if op == 't' then
  local taken = {}
  for i = 1, n do
    local st = turn(i)
    local part = min(costs[i], max(0, limits[i] - units(st)))
    if part > 0 then
      charge(st, part, now, false)
      commit(i)
    end
    taken[i] = format('%d', part)
  end
  return '5 ' .. format('%d', now) .. ' 0 ' .. table.concat(taken, ' ')
end

if op == 'a' then
  for i = 1, n do
    local st, cost = turn(i), costs[i]
    if cost > 0 then charge(st, cost, now, false)
    elseif cost < 0 then giveBack(st, -cost, at or now) end
    if cost ~= 0 then commit(i) end
  end
  return 1
end

if op == 's' then
  for i = 1, n do
    call('DEL', KEYS[i], KEYS[i] .. ':z')
    local st = load(KEYS[i], ARGV[3 + 5 * i], params[i], false)
    if costs[i] > 0 then
      charge(st, costs[i], now, false)
      save(st, true)
    end
  end
  return 1
end

if op == 'z' then
  for i = 1, n do
    local st = states[i]
    if st.k == 'n' then
      call('DEL', KEYS[i], KEYS[i] .. ':z')
    else
      st.gen, st.used, st.held, st.d, st.body, st.s = st.gen + 1, 0, 0, 0, '', nil
      save(st, true)
    end
    if from[i] then call('DEL', from[i][1]) end
  end
  return 1
end
return redis.error_reply('ERR unknown operation')
`;

/**
 * Ends or renews one hold. KEYS: the set of open holds, the hold, and the marker where there is one.
 * ARGV: operation, time or '', shortest TTL, slack, ledger or '', then for a settlement pairs of unit and amount, for a
 * renewal its length. Reply: state, 1 when changed, then triples of rule, use before, use after.
 */
export const CLOSE: string = `${STATES}${HOLDS}
local op, index, hold = ARGV[1], KEYS[1], KEYS[2]
now, lowest, slack = clock(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
if ARGV[5] ~= '' then
  local ledger = call('GET', KEYS[3])
  if ledger ~= ARGV[5] then return 'L' .. (ledger or '') end
end
local v = call('GET', hold)
if not v then return 'unknown 0' end
local record = cmsgpack.unpack(v)
if record[1] == 'open' and record[2] <= now then expire(hold, record, index) end
if op == 'n' then
  if record[1] ~= 'open' then return record[1] .. ' 0' end
  record[2] = now + tonumber(ARGV[6])
  for _, ch in ipairs(record[5]) do
    if ch[2] == 'n' then
      local key, kind, params, there = moved(ch[1], ch[2], ch[3])
      if there and call('ZSCORE', key .. ':z', ch[7][1]) then
        local st = load(key, kind, params, there)
        st.add, st.addAt = ch[7][1], record[2]
        st.lb, st.ub = min(st.lb, record[2]), max(st.ub, record[2])
        save(st)
      end
    end
  end
  put(hold, record, (record[2] - now) / 1000 + KEPT)
  call('ZADD', index, format('%d', record[2]), sub(hold, -32))
  return 'open 1'
end
if record[1] ~= 'open' and record[1] ~= 'expired' then return record[1] .. ' 0' end
local late = record[1] == 'expired'
local amounts, out = {}, {}
if op == 's' then for i = 6, #ARGV, 2 do amounts[ARGV[i]] = tonumber(ARGV[i + 1]) end end
for _, ch in ipairs(record[5]) do
  local before, after
  local held = (ch[4] and not late) and -ch[5] or 0
  if op == 'r' then
    amend(ch, -ch[6], held, now)
  elseif ch[2] == 'n' then
    if not late then amend(ch, -ch[6], 0, now) end
  elseif ch[4] then
    before, after = amend(ch, (amounts[ch[10]] or ch[5]) - ch[6], held, now)
  end
  if before and after > before then out[#out + 1] = ch[9] .. format(' %d %d', before, after) end
end
record[1] = op == 'r' and 'released' or 'settled'
put(hold, record, max(0, record[2] - now) / 1000 + slack)
call('ZREM', index, sub(hold, -32))
return record[1] .. ' 1 ' .. table.concat(out, ' ')
`;

/** Writes the marker. KEYS: the marker. ARGV: what it must be now ('' none), what it becomes, TTL in ms or ''. Reply: what it was. */
export const MARK: string = `
local was = redis.call('GET', KEYS[1]) or ''
if was == ARGV[1] then
  if ARGV[3] == '' then redis.call('SET', KEYS[1], ARGV[2]) else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
end
return was
`;
