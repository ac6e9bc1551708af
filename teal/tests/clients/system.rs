//! `dcos marathon about`, `ping` and the commands about the server itself.

use crate::machine::Machine;

#[test]
fn it_says_what_it_is() {
    let machine = Machine::up();

    let about = machine.dcos(&["about"]).json();

    assert_eq!(about["name"], "marathon");
    assert_eq!(about["leader"], machine.marathon.as_str());
    assert_eq!(about["elected"], true);
    assert!(
        about["version"]
            .as_str()
            .expect("a version")
            .starts_with("1.10."),
        "{about}"
    );
}

#[test]
fn a_ping_is_answered() {
    let machine = Machine::up();

    machine
        .dcos(&["ping", "--once"])
        .prints("Marathon ping response[1x]: \"pong\"");
}

#[test]
fn what_it_has_not_is_said_in_the_clis_words() {
    let machine = Machine::up();

    machine.dcos(&["plugin", "list"]).prints("");
    machine.dcos(&["pod", "list", "--json"]).prints("[]");
    machine
        .dcos(&["pod", "show", "/web"])
        .fails("Error: Pod '/web' does not exist");
    machine.dcos(&["leader", "delete"]).fails(
        "Error: This engine is the only one of its machine: nobody else could lead, and to abdicate would end it. \
         To end it, stop the program that it runs in.",
    );
    machine.dcos(&["ping", "--once"]).went_well();
}
