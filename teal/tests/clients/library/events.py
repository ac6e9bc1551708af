# The stream is read while an app is deployed. The library's own event objects cannot hold a deployment event of any
# Marathon since 1.8 (its plan no longer carries `original`), so those are read as their users must: raw.
import json
import threading

seen = []
attached = threading.Event()
OBJECTS = ["event_stream_attached", "api_post_event", "group_change_success", "status_update_event",
           "instance_changed_event", "instance_health_changed_event", "health_status_changed_event",
           "add_health_check_event", "remove_health_check_event", "app_terminated_event"]


def listen_for_objects():
    for event in MarathonClient(sys.argv[1]).event_stream(event_types=OBJECTS):
        seen.append(event.event_type)
        attached.set()


def listen_for_text():
    for text in MarathonClient(sys.argv[1]).event_stream(raw=True, event_types=["deployment_info", "deployment_success"]):
        seen.append(json.loads(text)["eventType"])


threading.Thread(target=listen_for_objects, daemon=True).start()
assert attached.wait(60), "nothing arrived"
threading.Thread(target=listen_for_text, daemon=True).start()
until("the second stream is there", lambda: seen.count("event_stream_attached") == 2)
client.create_app("/a", MarathonApp(
    cmd="exec sleep 1000", instances=1, cpus=0.1, mem=16,
    health_checks=[MarathonHealthCheck(
        protocol="COMMAND", command={"value": "true"}, interval_seconds=1, delay_seconds=0)]))
until("it was told as a success", lambda: "deployment_success" in seen)
client.delete_app("/a")
until("its end was told", lambda: "app_terminated_event" in seen)
assert set(OBJECTS) | {"deployment_info", "deployment_success"} == set(seen), seen
print("all is as it should be")
