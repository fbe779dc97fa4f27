-- Accept a message. ARGV: 3 address, 4 id, 5 dedup key, 6 its milliseconds, 7 message, 8 expires, 9 audience,
-- 10 named endpoint, 11 store, 12 bound of waiting messages, 13 mark the address as due.
-- Returns {status, due, endpoint...}: L live, S stored, X dropped, D duplicate, F full.
local address, id, message = ARGV[3], ARGV[4], ARGV[7]
local seen = base .. ':seen:' .. ARGV[5]

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

local store = ARGV[11] == '1'
if store and call('HLEN', base .. ':owed') >= tonumber(ARGV[12]) then
  local endpoints, ids = read_endpoints()
  drive(address, endpoints, ids, {}, {}, {}, false) -- what has expired makes room
  if call('HLEN', base .. ':owed') >= tonumber(ARGV[12]) then
    return { 'F', 0 }
  end
end

local endpoints, ids = read_endpoints()
local chosen = targets(endpoints, ids, ARGV[9], ARGV[10])
local answer = { #chosen > 0 and 'L' or (store and 'S' or 'X'), 0 }
local memory = { now + tonumber(ARGV[6]), id, answer[1] }
local owed = nil
if store then
  local seq = call('HINCRBY', base .. ':meta', 'seq', 1)
  owed = { seq, now, tonumber(ARGV[8]), ARGV[9], ARGV[10] }
end
for i, target in ipairs(chosen) do
  answer[2 + i], memory[3 + i] = target, target
  if owed then
    owed[#owed + 1], owed[#owed + 2] = target, 'o'
  end
end
if owed then
  call('HSET', base .. ':pending', id, message)
  call('HSET', base .. ':owed', id, pack(owed))
  if #chosen > 0 and ARGV[13] == '1' then
    if call('ZADD', 't:due:messages', 'NX', now + OVERDUE, address) == 1 then
      answer[2] = now + OVERDUE
    else
      answer[2] = call('ZSCORE', 't:due:messages', address)
    end
  end
end
call('SET', seen, pack(memory), 'PX', ARGV[6])
deliver(message, endpoints, chosen, false)
return answer
