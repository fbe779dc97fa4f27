-- Strike obligations off. KEYS: the base key of each recipient. ARGV: 1 bound of an inbox, 2 the caller's time, 3 token of
-- this call; then FIELDS of each: 1 message id, 2 endpoint, 3 new state (d, u, r; D: delivered, and
-- owed to nobody else).
-- Returns for each 0 (goes on), 1 (done) or the message when every endpoint refused it; or what went wrong.
local FIELDS = 3

local function settle(token, id, endpoint, state)
  if state == 'D' then
    return call('HDEL', base .. ':pending', id)
  end
  local stored = call('HGET', base .. ':pending', id)
  if not stored then
    -- the same call again, after its answer was lost
    return state == 'r' and call('GET', base .. ':seen:' .. token) or 0
  end
  local offset, owed = unpack_one(stored)
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
  if has(owed, 'o') then
    keep(id, owed, string.sub(stored, offset + 1))
    return 0
  end
  if has(owed, 'd') then
    forget(id)
    return 1
  end
  local message = string.sub(stored, offset + 1)
  local endpoints, ids = read_endpoints()
  if not live(owed[3]) and has(owed, 'u') then
    forget(id)
    return 0
  elseif live(owed[3]) and drive_one(message, owed, endpoints, ids, {}, {}) then
    call('ZADD', 't:due:messages', 'NX', now + OVERDUE, string.sub(base, 4, -2))
  elseif not has(owed, 'u') then
    call('SET', base .. ':seen:' .. token, message, 'PX', 10000)
    forget(id)
    return message
  end
  keep(id, owed, message)
  return 0
end

register('settle', function(keys, argv)
  begin(argv[1])
  local answers = {}
  for i, key in ipairs(keys) do
    local first = 4 + (i - 1) * FIELDS
    at(key, argv[2])
    local well, answer = pcall(settle, argv[3] .. i, argv[first], argv[first + 1], argv[first + 2])
    answers[i] = well and answer or failure(answer)
  end
  send_out()
  return answers
end, { 'allow-oom' })
