# What is sent comes back, and what comes back may be sent again without a change.
sent = MarathonApp(
    cmd="exec sleep 1000", instances=0, cpus=0.5, mem=64.0, disk=1.0, backoff_factor=2.0, backoff_seconds=3,
    max_launch_delay_seconds=60, env={"A": "b"}, labels={"tier": "front", "region": "eu"},
    upgrade_strategy=MarathonUpgradeStrategy(maximum_over_capacity=0.5, minimum_health_capacity=0.5),
    kill_selection="OLDEST_FIRST", task_kill_grace_period_seconds=7,
    port_definitions=[PortDefinition(port=0, protocol="tcp", name="http", labels={"VIP_0": "/a:80"})],
    health_checks=[MarathonHealthCheck(protocol="HTTP", path="/health", port_index=0, interval_seconds=5)])
client.create_app("/shop/cart", sent)
settled()

got = client.get_app("/shop/cart")
for field in ("cmd", "instances", "cpus", "mem", "disk", "backoff_factor", "backoff_seconds", "max_launch_delay_seconds",
              "env", "labels", "kill_selection", "task_kill_grace_period_seconds"):
    assert getattr(got, field) == getattr(sent, field), (field, getattr(got, field), getattr(sent, field))
assert got.upgrade_strategy.minimum_health_capacity == 0.5
assert got.port_definitions[0].name == "http" and 10000 <= got.port_definitions[0].port <= 20000
assert got.health_checks[0].path == "/health"

before = got.version
client.update_app("/shop/cart", got)
settled()
assert client.get_app("/shop/cart").version == before, "an update without a change made a version"

client.create_app("/idle", MarathonApp(cmd="exec sleep 1000", instances=0))
settled()
ids = lambda **asked: sorted(app.id for app in client.list_apps(**asked))
assert ids() == ["/idle", "/shop/cart"]
assert ids(app_id="CART") == ["/shop/cart"]
assert ids(cmd="sleep") == ["/idle", "/shop/cart"]
assert ids(label="tier==front") == ["/shop/cart"]
assert ids(label="tier in (back, front),region!=us") == ["/shop/cart"]
assert ids(label="tier notin (front)") == []
# Task statistics are left out: since Marathon 1.5 they are called `tasksStats`, which the library does not know.
everything = dict(embed_tasks=True, embed_counts=True, embed_deployments=True, embed_readiness=True,
                  embed_last_task_failure=True, embed_failures=True)
assert ids(**everything) == ["/idle", "/shop/cart"]

wrong = MarathonApp(cmd="exec sleep 1000", instances=0, cpus=-1)
error = raises(MarathonHttpError, lambda: client.create_app("/wrong", wrong))
assert error.status_code == 422 and error.error_message == "Object is not valid", error
raises(ConflictError, lambda: client.create_app("/idle", MarathonApp(cmd="exec sleep 1", instances=0)))
print("all is as it should be")
