/**
 * The same decision for what most asks are: token buckets and windows that keep nothing but a number, without hold,
 * patience, marks or shadow. Anything else that it meets makes it answer `G`, having written nothing: ask in general.
 * KEYS: a counter per part. ARGV: time or '', latest time or '', shortest TTL; then three per part: ticks per
 * microsecond (2) and interval, ticks needed, ticks that may be in use before; or `f`, `c`, `t` with parameters, cost, limit.
 */
export const FAST: string = `
local call, format, sub, byte, floor = redis.call, string.format, string.sub, string.byte, math.floor
local KEYS, ARGV, n, now = KEYS, ARGV, #KEYS, ARGV[1]
if now == '' then
  local t = call('TIME')
  now = t[1] * 1000000 + t[2]
else
  now = tonumber(now)
end
if ARGV[2] ~= '' and now > tonumber(ARGV[2]) then return format('3 %d 0', now) end
local values = call('MGET', unpack(KEYS))
local state, starts, ends, fits = {}, {}, {}, true
for i = 1, n do
  local a = 1 + 3 * i
  local spec, cost, v = ARGV[a], ARGV[a + 1], values[i]
  local kind, x = byte(spec, 1), 0
  if kind < 58 then
    if v then
      if sub(v, 19) ~= spec then return 'G' end
      x = sub(v, 1, 16) - now
      if x < 0 then
        x = 0
      else
        -- Conversions are what costs here: most rules count in whole microseconds, "01".
        if kind ~= 48 or byte(spec, 2) ~= 49 then x = x * sub(spec, 1, 2) + sub(v, 17, 18) end
        if cost ~= '0' and x > ARGV[a + 2] + 0 then fits = false end
      end
    end
    -- A full bucket has room for whatever is not more than it holds.
    if x == 0 and cost ~= '0' and byte(ARGV[a + 2], 1) == 45 then fits = false end
  else
    local e = 0
    if v then
      if byte(v, 1) == 62 then return 'G' end
      x, e = tonumber(sub(v, 33)), tonumber(sub(v, 17, 32))
      if not x then return 'G' end
    end
    if e > now then
      starts[i], ends[i] = sub(v, 1, 16), e
    else
      x = 0
      if kind == 102 then starts[i], ends[i] = format('%016d', now), now + tonumber(sub(spec, 2))
      elseif kind == 116 then starts[i], ends[i] = '0000000000000000', 9007199254740991
      else
        local s0, e0, e1 = sub(spec, 2, 17), sub(spec, 18, 33), sub(spec, 34, 49)
        if now < tonumber(s0) or now >= tonumber(e1) then return format('3 %d 0', now) end
        if now < tonumber(e0) then starts[i], ends[i] = s0, tonumber(e0)
        else starts[i], ends[i] = e0, tonumber(e1) end
      end
      -- A fixed window that no charge has begun has no end yet.
      if kind == 102 then ends[-i] = true end
    end
    if cost ~= '0' and x + cost > tonumber(ARGV[a + 2]) then fits = false end
  end
  state[i] = x
end
if fits then
  local lowest = tonumber(ARGV[3])
  for i = 1, n do
    local a = 1 + 3 * i
    local spec, cost, x, ms = ARGV[a], ARGV[a + 1], state[i]
    if cost ~= '0' then
      if byte(spec, 1) < 58 then
        local d = x + cost
        local q, rest = d, 0
        if byte(spec, 1) ~= 48 or byte(spec, 2) ~= 49 then
          local res = sub(spec, 1, 2) + 0
          q = floor(d / res)
          if q * res > d then q = q - 1 end
          rest = d - q * res
        end
        ms = floor(q / 1000) + 2
        if ms < lowest then ms = lowest end
        call('SET', KEYS[i], format('%016d%02d%s', now + q, rest, spec), 'PX', format('%d', ms))
      else
        local v = starts[i] .. format('%016d%d', ends[i], x + cost)
        if ends[i] == 9007199254740991 then
          call('SET', KEYS[i], v)
        else
          ms = floor((ends[i] - now) / 1000) + 2
          call('SET', KEYS[i], v, 'PX', format('%d', ms > lowest and ms or lowest))
        end
      end
    end
  end
  return 1
end
local function up(a, b)
  local q = floor(a / b)
  if q * b > a then q = q - 1 end
  if q * b < a then q = q + 1 end
  return q
end
local out = { format('0 %d 0', now) }
for i = 1, n do
  local a = 1 + 3 * i
  local spec, cost, room, x = ARGV[a], tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2]), state[i]
  local used, wait, reset = x, 0, 0
  if byte(spec, 1) < 58 then
    local res, int = tonumber(sub(spec, 1, 2)), tonumber(sub(spec, 3))
    used, reset = up(x, int), up(x, res)
    if cost > 0 and room < 0 then wait = -1
    elseif cost > 0 and x > room then wait = up(x - room, res) end
  else
    if byte(spec, 1) == 116 then reset = x > 0 and -1 or 0
    elseif not ends[-i] then reset = ends[i] - now end
    if cost > room then wait = -1
    elseif cost > 0 and x + cost > room then wait = byte(spec, 1) == 116 and -1 or ends[i] - now end
  end
  out[i + 1] = format('%d 0 %d %d %d', used, wait, reset, used)
end
return table.concat(out, ' ')
`;
