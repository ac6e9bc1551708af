//! `dcos marathon group`.

use serde_json::{Value, json};

use crate::machine::{Machine, sleeper};

const DEPLOYMENT: &str = "Created deployment 00000000-0000-4000-8000-000000000000";

#[test]
fn a_group_is_added_listed_scaled_updated_and_removed() {
    let machine = Machine::up();
    machine.dcos(&["group", "list"]).prints("");
    let file = machine.write("group.json", &shop());

    machine.dcos(&["group", "add", &file]).prints(DEPLOYMENT);
    machine.until_settled();
    machine
        .dcos(&["group", "add", &file])
        .fails("Group '/shop' already exists");
    machine.dcos(&["group", "list"]).prints(
        "\
ID          APPS
/shop        2
/shop/data   1",
    );
    machine
        .dcos(&["group", "scale", "/shop", "2"])
        .prints(DEPLOYMENT);
    machine.until_settled();
    assert_eq!(machine.tasks("/shop/web").len(), 2);
    let update = json!({ "apps": [sleeper("/shop/cart", 0)] }).to_string();
    machine
        .dcos_reading(Some(&update), &["group", "update", "/shop"])
        .prints(DEPLOYMENT);
    machine.until_settled();
    machine
        .dcos(&["app", "list", "--quiet"])
        .prints("/shop/cart\n/shop/data/db");
    machine.dcos(&["group", "remove", "/shop"]).prints("");
    machine.until_settled();

    machine.dcos(&["app", "list", "--quiet"]).prints("");
    machine
        .dcos(&["group", "show", "/shop"])
        .fails("Error: Group '/shop' does not exist");
}

#[test]
fn a_group_is_shown_and_so_are_its_versions() {
    let machine = Machine::up();
    let file = machine.write("group.json", &shop());
    machine.dcos(&["group", "add", &file]).went_well();
    machine.until_settled();
    let first = machine.dcos(&["group", "show", "shop"]).json();
    let version = first["version"].as_str().expect("a time").to_owned();
    machine.dcos(&["group", "scale", "shop", "0"]).went_well();
    machine.until_settled();

    let version = format!("--group-version={version}");
    let former = machine.dcos(&["group", "show", &version, "shop"]).json();

    assert_eq!(first["groups"][0]["apps"][0]["id"], "/shop/data/db");
    assert_eq!(former["apps"][0]["instances"], 1);
    assert_eq!(
        machine.dcos(&["group", "show", "shop"]).json()["apps"][0]["instances"],
        0
    );
}

#[test]
fn an_app_waits_for_what_it_depends_on() {
    let machine = Machine::up();
    let mut shop = shop();
    shop["apps"][0]["dependencies"] = json!(["/shop/data"]);
    shop["groups"][0]["apps"] = json!([machine.gated("db")]);
    let file = machine.write("group.json", &shop);
    machine.dcos(&["group", "add", &file]).went_well();

    machine.dcos(&["deployment", "list"]).prints(
        "\
APP            POD  ACTION  PROGRESS  ID
/shop/data/db  -    scale     1/3     00000000-0000-4000-8000-000000000000
/shop/web",
    );
    assert!(machine.tasks("/shop/web").is_empty());
    machine.open_gate();
    machine.until_settled();

    assert_eq!(machine.tasks("/shop/web").len(), 1);
}

fn shop() -> Value {
    json!({
        "id": "/shop",
        "apps": [sleeper("web", 1)],
        "groups": [{ "id": "data", "apps": [sleeper("db", 1)] }],
    })
}
