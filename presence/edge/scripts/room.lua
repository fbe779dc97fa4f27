-- One step of a room. KEYS: base key. ARGV: 1 the caller's time, 2 bound of an inbox, 3 room, 4 step: MessagePack
-- array of
--   1 version it must have     2 version it gets         3 put [field, value]...   4 dropped fields
--   5 it goes                  6 envelope                7 nodes that get it
--   8 history for one node: [node, most, since] or false
--   9 kept for it: [message, its id, limit, bytes] or false  10 for the archive: [message, bound] or false
--   11 id taken out of the history, or ''                12 nodes with somebody here now     13 nodes with nobody now
--   14 list: [key, entry] or false                       15 creation: [creator, per domain, per account] or false
--   16 creator of a room that goes, or ''                17 the database has to be told
-- 5 link key, 6 number of this call, 7 it is sent again.
-- Returns D done, C conflict, A the archive is full, R too many rooms, P too many of one person.
local CREATORS, UNSAVED, ARCHIVE = 't:rooms:creators', 't:rooms:unsaved', 't:archive'

-- Why it cannot be done; nil if it can.
local function obstacle(state, step)
  if tonumber(call('HGET', state, 'v') or 0) ~= step[1] then
    return 'C'
  end
  local archived, creation, list = step[10], step[15], step[14]
  if archived and call('XLEN', ARCHIVE) >= tonumber(archived[2]) then
    return 'A'
  end
  if creation and call('HLEN', list[1]) >= creation[2] then
    return 'R'
  end
  if creation and tonumber(call('HGET', CREATORS, creation[1]) or 0) >= creation[3] then
    return 'P'
  end
end

-- The envelope with what was said before; its last byte is the empty history.
local function with_history(envelope, history, most, since)
  local entries = most > 0 and call('XREVRANGE', history, '+', since, 'COUNT', most) or {}
  local count, parts = #entries, {}
  for i = count, 1, -1 do
    parts[#parts + 1] = entries[i][2][2]
  end
  local array = count < 16 and string.char(144 + count)
    or '\220' .. string.char(math.floor(count / 256), count % 256)
  return string.sub(envelope, 1, -2) .. array .. table.concat(parts)
end

local function remove(room, state, history, list, creator)
  call('DEL', state, history)
  call('HDEL', list[1], room)
  if call('HINCRBY', CREATORS, creator, -1) < 1 then
    call('HDEL', CREATORS, creator)
  end
end

local function change(room, state, step)
  call('HSET', state, 'v', step[2])
  for _, put in ipairs(step[3]) do
    call('HSET', state, put[1], put[2])
  end
  for _, field in ipairs(step[4]) do
    call('HDEL', state, field)
  end
  local list, creation = step[14], step[15]
  if list and list[2] ~= '' then
    call('HSET', list[1], room, list[2])
  end
  if creation then
    call('HINCRBY', CREATORS, creation[1], 1)
  end
end

-- Keep at most so many bytes of the history. What was added since it was last weighed is in the room's field
-- `b`, so that it is not weighed each time.
local function lighten(state, history, added, most)
  if call('HINCRBY', state, 'b', added) <= most then
    return
  end
  local entries, weight = call('XRANGE', history, '-', '+'), 0
  for _, entry in ipairs(entries) do
    weight = weight + #entry[2][2]
  end
  if weight > most then
    for _, entry in ipairs(entries) do
      if weight <= most * 3 / 4 then
        break
      end
      call('XDEL', history, entry[1])
      weight = weight - #entry[2][2]
    end
  end
  call('HSET', state, 'b', weight)
end

local function remember(state, history, kept, struck)
  if kept and kept[3] > 0 then
    call('XADD', history, 'MAXLEN', kept[3], '*', '1', kept[1], 'i', kept[2])
    lighten(state, history, #kept[1], kept[4])
  elseif kept then
    call('DEL', history)
    call('HDEL', state, 'b')
  end
  if struck ~= '' then
    for _, entry in ipairs(call('XRANGE', history, '-', '+')) do
      if entry[2][4] == struck then
        call('XDEL', history, entry[1])
      end
    end
  end
end

register('room', function(keys, argv)
  begin(argv[2])
  at(keys[1], argv[1])
  local room, step = argv[3], cmsgpack.unpack(argv[4])
  local state, history = base .. ':room', base .. ':history'
  if done_before(argv[5], argv[6], argv[7]) then
    return 'D'
  end
  local refused = obstacle(state, step)
  if refused then
    return refused
  end
  local recall, recalled = step[8], nil
  if recall then
    recalled = with_history(step[6], history, recall[2], recall[3])
  end
  if step[5] then
    remove(room, state, history, step[14], step[16])
  else
    change(room, state, step)
    remember(state, history, step[9], step[11])
  end
  for _, node in ipairs(step[12]) do
    call('SADD', 't:node:' .. node .. ':rooms', room)
  end
  for _, node in ipairs(step[13]) do
    call('SREM', 't:node:' .. node .. ':rooms', room)
  end
  if step[17] then
    call('HSET', UNSAVED, room, step[2])
  end
  for _, node in ipairs(step[7]) do
    post(node, recall and recall[1] == node and recalled or step[6])
  end
  if step[10] then
    call('XADD', ARCHIVE, '*', '1', step[10][1])
  end
  send_out()
  return 'D'
end)
