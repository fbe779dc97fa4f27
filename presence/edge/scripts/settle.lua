-- Strike one obligation off. ARGV: 3 address, 4 id, 5 endpoint, 6 new state (d, u, r), 7 token of this call.
-- Returns 0 (goes on), 1 (done) or the message when every endpoint refused it.
local id, endpoint, state = ARGV[4], ARGV[5], ARGV[6]

local stored = call('HGET', base .. ':pending', id)
if not stored then
  -- the same call again, after its answer was lost
  return state == 'r' and call('GET', base .. ':seen:' .. ARGV[7]) or 0
end
local owed, message = split(stored)
local at = nil
for i = STATES, #owed, 2 do
  if owed[i] == endpoint then
    at = i + 1
  end
end
if not at or owed[at] == state or (owed[at] ~= 'o' and owed[at] ~= 'u') then
  return 0
end
owed[at] = state
if not has(owed, 'o') then
  if has(owed, 'd') then
    forget(id)
    return 1
  end
  local endpoints, ids = read_endpoints()
  if not live(owed[3]) and has(owed, 'u') then
    forget(id)
    return 0
  elseif live(owed[3]) and drive_one(message, owed, endpoints, ids, {}, {}) then
    call('ZADD', 't:due:messages', 'NX', now + OVERDUE, ARGV[3])
  elseif not has(owed, 'u') then
    call('SET', base .. ':seen:' .. ARGV[7], message, 'PX', 10000)
    forget(id)
    return message
  end
end
keep(id, owed, message)
return 0
