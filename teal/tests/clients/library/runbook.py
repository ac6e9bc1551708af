# The page's definition, with a process in place of the image; scale up, kill and scale, remove.
check = MarathonHealthCheck(
    protocol="TCP", grace_period_seconds=600, interval_seconds=30, port_index=0, timeout_seconds=10,
    max_consecutive_failures=2)
green = MarathonApp(
    cmd="exec python3 -m http.server $PORT0 --bind 127.0.0.1", instances=0, cpus=0.25, mem=256.0, ports=[0],
    health_checks=[check])

created = client.create_app("/green-oinker", green)
assert (created.id, created.instances, len(created.deployments)) == ("/green-oinker", 0, 1), created
settled()

client.scale_app("/green-oinker", instances=2)
settled()
app = client.get_app("/green-oinker", embed_tasks=True)
assert (app.instances, app.tasks_running, app.tasks_healthy) == (2, 2, 2), app
results = [result for task in app.tasks for result in task.health_check_results]
assert len(results) == 2 and all(result.alive for result in results), results
assert [c.protocol for c in app.health_checks] == ["TCP"], app.health_checks

task = app.tasks[0].id
assert client.kill_given_tasks([task], scale=True)
settled()
left = client.list_tasks("/green-oinker")
assert task not in [t.id for t in left] and len(left) == 1, left
assert client.get_app("/green-oinker").instances == 1

client.delete_app("/green-oinker")
settled()
raises(NotFoundError, lambda: client.get_app("/green-oinker"))
print("all is as it should be")
