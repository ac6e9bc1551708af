# Groups as objects of the library.
app = lambda name, **more: MarathonApp(id=name, cmd="exec sleep 1000", instances=1, cpus=0.1, mem=16, **more)
group = MarathonGroup(id="/shop", apps=[app("web", dependencies=["/shop/data"])],
                      groups=[MarathonGroup(id="data", apps=[app("db")])])
created = client.create_group(group)
assert set(created) == {"version", "deploymentId"}, created
settled()
raises(ConflictError, lambda: client.create_group(group))

got = client.get_group("/shop")
assert (got.id, [a.id for a in got.apps], [g.id for g in got.groups]) == ("/shop", ["/shop/web"], ["/shop/data"]), got
assert got.apps[0].dependencies == ["/shop/data"]
assert [g.id for g in client.list_groups()] == ["/shop"]

client.scale_group("/shop", 2)
settled()
assert [(a.id, a.instances, a.tasks_running) for a in client.list_apps()] == [("/shop/data/db", 2, 2), ("/shop/web", 2, 2)]
client.update_group("/shop", MarathonGroup(id="/shop", apps=[app("/shop/cart")]))
settled()
assert [a.id for a in client.list_apps()] == ["/shop/cart", "/shop/data/db"]
client.delete_group("/shop")
settled()
raises(NotFoundError, lambda: client.get_group("/shop"))
print("all is as it should be")
