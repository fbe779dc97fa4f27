-- Accept a message. ARGV: 3 address, 4 id, 5 dedup key or '', 6 its milliseconds, 7 message, 8 expires, 9 audience,
-- 10 named endpoint, 11 store, 12 bound of waiting messages, 13 mark the address as due, 14 link key, 15 number of
-- this call, 16 it is sent again.
-- Returns {status, due, endpoint...}: L live, S stored, X dropped, D duplicate, F full.
local address, id, message = ARGV[3], ARGV[4], ARGV[7]
local pending = base .. ':pending'

local function as_then()
  local stored, answer = call('HGET', pending, id), { 'L', 0 }
  if stored then
    local owed = split(stored)
    for i = STATES, #owed, 2 do
      answer[#answer + 1] = owed[i]
    end
    answer[1] = #answer > 2 and 'L' or 'S'
  end
  return answer
end
if done_before(ARGV[14], ARGV[15], ARGV[16]) then
  return as_then()
end

local seen = ARGV[5] ~= '' and base .. ':seen:' .. ARGV[5]
if seen then
  local earlier = call('GET', seen)
  if earlier then
    earlier = cmsgpack.unpack(earlier)
    if earlier[1] > now then
      local answer = { earlier[2] == id and earlier[3] or 'D', 0 }
      for i = 4, #earlier do
        answer[#answer + 1] = earlier[i]
      end
      return answer
    end
  end
end

local endpoints, ids = read_endpoints()
local store = ARGV[11] == '1'
if store and call('HLEN', pending) >= tonumber(ARGV[12]) then
  drive(address, endpoints, ids, {}, {}, {}, false) -- what has expired makes room
  if call('HLEN', pending) >= tonumber(ARGV[12]) then
    return { 'F', 0 }
  end
end

local chosen = targets(endpoints, ids, ARGV[9], ARGV[10])
local answer = { #chosen > 0 and 'L' or (store and 'S' or 'X'), 0, unpack(chosen) }
if store then
  local time = call('TIME')
  local owed = { time[1] * 1000000 + time[2], now, tonumber(ARGV[8]), ARGV[9], ARGV[10] }
  for _, target in ipairs(chosen) do
    owed[#owed + 1], owed[#owed + 2] = target, 'o'
  end
  if call('HSETNX', pending, id, pack(owed) .. message) == 0 then
    return as_then() -- the same message once more
  end
  if #chosen > 0 and ARGV[13] == '1' then
    if call('ZADD', 't:due:messages', 'NX', now + OVERDUE, address) == 1 then
      answer[2] = now + OVERDUE
    else
      answer[2] = call('ZSCORE', 't:due:messages', address)
    end
  end
end
if seen then
  call('SET', seen, pack({ now + tonumber(ARGV[6]), id, answer[1], unpack(chosen) }), 'PX', ARGV[6])
end
if #chosen > 0 then
  deliver(message, endpoints, chosen, false)
end
return answer
