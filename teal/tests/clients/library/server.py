# What the server says of itself, and its queue.
info = client.get_info()
assert info.name == "marathon" and info.elected and info.version.startswith("1.10."), info
assert info.marathon_config.local_port_min == 10000, info.marathon_config
assert info.http_config.http_port == int(sys.argv[1].rsplit(":", 1)[1]), info.http_config
assert client.get_leader() == {"leader": info.leader}
assert client.ping() == b'"pong"', client.ping()

client.create_app("/a", MarathonApp(cmd="exit 1", instances=1, cpus=0.1, mem=16, backoff_seconds=200))
item = until("it waits", lambda: [item for item in client.list_queue() if not item.delay.overdue])[0]
assert item.app.id == "/a" and item.count == 1 and item.delay.time_left_seconds > 100, item
assert client.list_queue(embed_last_unused_offers=True)[0].last_unused_offers == []
failure = client.get_app("/a").last_task_failure
assert failure.state == "TASK_FAILED" and failure.app_id == "/a", failure
client.reset_delay("/a")
raises(NotFoundError, lambda: client.reset_delay("/nothing"))
client.delete_app("/a")
settled()
print("all is as it should be")
