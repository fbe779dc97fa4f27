-- An envelope for every node with an endpoint here or an interest. KEYS: base key. ARGV: 1 time, 2 bound of an inbox,
-- 3 envelope.
register('tell', function(keys, argv)
  begin(argv[2])
  at(keys[1], argv[1])
  local nodes = {}
  for _, endpoint in pairs((read_endpoints())) do
    nodes[endpoint[3]] = true
  end
  for _, node in ipairs(call('SMEMBERS', base .. ':interest')) do
    nodes[node] = true
  end
  for node in pairs(nodes) do
    post(node, argv[3])
  end
  send_out()
  return 1
end)
