-- An envelope for every node with an endpoint here or an interest. ARGV: 3 envelope.
local nodes = {}
for _, endpoint in pairs(read_endpoints()) do
  nodes[endpoint[3]] = true
end
for _, node in ipairs(call('SMEMBERS', base .. ':interest')) do
  nodes[node] = true
end
for node in pairs(nodes) do
  post(node, ARGV[3])
end
return 1
