# Versions, deployments, restarts and every form of killing.
client.create_app("/a", MarathonApp(cmd="exec sleep 1000", instances=2, cpus=0.1, mem=16))
settled()
first = client.get_app("/a")
tasks = client.list_tasks("/a")
assert [task.state for task in tasks] == ["TASK_RUNNING"] * 2, tasks
assert all(task.app_id == "/a" and task.host and task.staged_at and task.started_at for task in tasks), tasks
assert sorted(end.task_id for end in client.list_endpoints()) == sorted(task.id for task in tasks)

changed = client.update_app("/a", MarathonApp(mem=24))
assert set(changed) == {"version", "deploymentId"}, changed
settled()
versions = client.list_versions("/a")
assert len(versions) == 2 and client.get_version("/a", versions[-1]).mem == 16, versions
client.rollback_app("/a", versions[-1])
settled()
assert client.get_app("/a").mem == 16

before = {task.id for task in client.list_tasks("/a")}
client.restart_app("/a")
settled()
after = {task.id for task in client.list_tasks("/a")}
assert len(after) == 2 and not before & after, (before, after)

victim = sorted(after)[0]
killed = client.kill_task("/a", victim, scale=False)
assert killed.id == victim, killed
until("another one runs", lambda: sum(task.state == "TASK_RUNNING" for task in client.list_tasks("/a")) == 2)
assert len(client.kill_tasks("/a", scale=False, host="*")) == 2
until("others run", lambda: sum(task.state == "TASK_RUNNING" for task in client.list_tasks("/a")) == 2)
client.kill_task("/a", client.list_tasks("/a")[0].id, scale=True)
settled()
assert client.get_app("/a").instances == 1

never = MarathonHealthCheck(protocol="COMMAND", command={"value": "false"})
stuck = client.update_app("/a", MarathonApp(health_checks=[never]))
deployment = until("it is listed", client.list_deployments)[0]
assert deployment.id == stuck["deploymentId"] and deployment.affected_apps == ["/a"], deployment
assert deployment.current_actions[0].action == "RestartApplication", deployment
assert (deployment.current_step, deployment.total_steps) == (1, 1), deployment
raises(ConflictError, lambda: client.scale_app("/a", instances=3))
undone = client.delete_deployment(deployment.id)
assert undone["deploymentId"] != deployment.id
settled()
assert not client.get_app("/a").health_checks
assert client.delete_deployment(client.update_app("/a", MarathonApp(health_checks=[never]))["deploymentId"], force=True) == {}
client.scale_app("/a", instances=0, force=True)
settled()

new = dict(cmd="exec sleep 1000", instances=1, cpus=0.1, mem=16)
client.update_apps([MarathonApp(id="/b", **new), MarathonApp(id="/c", **new)])
settled()
assert [app.tasks_running for app in client.list_apps()] == [0, 1, 1]
print("all is as it should be")
