//! Folders as the DC/OS command lines leave them.

use super::*;
use std::collections::BTreeMap;
use tempfile::TempDir;

#[test]
fn the_only_cluster_is_taken_and_of_several_the_attached_one() {
    let home = Home::new();
    home.cluster("one", "[core]\ndcos_url = \"https://one\"\n");
    assert_eq!(home.attached(&[]).expect("one").url, "https://one");

    home.cluster("two", "[core]\ndcos_url = \"https://two\"\n");
    let error = home.attached(&[]).expect_err("which?");
    assert!(error.to_string().contains("none is attached"), "{error}");

    home.attach("two");
    let two = home.attached(&[]).expect("two");
    assert_eq!(two.url, "https://two");
    assert_eq!(two.marathon, "https://two/service/marathon");

    home.attach("one");
    let error = home.attached(&[]).expect_err("which?");
    assert!(error.to_string().contains("several clusters are attached"));
}

#[test]
fn a_variable_picks_a_cluster_by_name_or_id() {
    let home = Home::new();
    home.cluster(
        "id-1",
        "[core]\ndcos_url = \"https://one\"\n[cluster]\nname = \"prod\"\n",
    );
    home.cluster("id-2", "[core]\ndcos_url = \"https://two\"\n");
    home.attach("id-2");
    let url = |name| home.attached(&[("DCOS_CLUSTER", name)]).map(|one| one.url);

    assert_eq!(url("prod"), Ok("https://one".to_owned()));
    assert_eq!(url("id-1"), Ok("https://one".to_owned()));
    assert!(url("id").is_err(), "a part of an id names nothing");
}

#[test]
fn a_folder_without_clusters_may_hold_the_file_of_older_command_lines() {
    let home = Home::new();
    home.write("dcos.toml", "[core]\ndcos_url = \"http://old/\"\n");
    let elsewhere = home.write("elsewhere.toml", "[core]\ndcos_url = \"http://other\"\n");

    assert_eq!(home.attached(&[]).expect("old").url, "http://old");
    let told = [("DCOS_CONFIG", elsewhere.to_str().expect("UTF-8"))];
    assert_eq!(home.attached(&told).expect("other").url, "http://other");
}

#[test]
fn without_settings_there_is_no_cluster_and_the_message_says_what_to_do() {
    let error = Home::new().attached(&[]).expect_err("none");

    assert!(error.to_string().contains("no cluster is set up"));
    assert!(
        error
            .hint()
            .is_some_and(|hint| hint.contains("dcos cluster setup"))
    );
}

#[test]
fn a_file_that_others_may_read_is_refused() {
    let home = Home::new();
    let file = home.cluster("one", "[core]\ndcos_url = \"https://one\"\n");
    for (mode, fine) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false)] {
        let to = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&file, to).expect("ours");

        assert_eq!(home.attached(&[]).is_ok(), fine, "{mode:o}");
    }
}

#[test]
fn variables_override_the_file_key_by_key() {
    let home = Home::new();
    home.cluster(
        "one",
        "[core]\ndcos_url = \"https://one\"\ndcos_acs_token = \"t1\"\nssl_verify = \"/ca.crt\"\n\
         [marathon]\nurl = \"https://one/service/mom\"\n",
    );

    let told = home.attached(&[]).expect("one");
    assert_eq!(told.marathon, "https://one/service/mom");
    assert_eq!(told.trust, Trust::Also(PathBuf::from("/ca.crt")));
    assert_eq!(token(&told), Some("t1".to_owned()));

    let told = home
        .attached(&[
            ("DCOS_ACS_TOKEN", "t2"),
            ("DCOS_SSL_VERIFY", "false"),
            ("DCOS_MARATHON_URL", "https://one/service/other"),
        ])
        .expect("one");
    assert_eq!(told.marathon, "https://one/service/other");
    assert_eq!(told.trust, Trust::Anybody);
    assert_eq!(token(&told), Some("t2".to_owned()));
}

#[test]
fn the_token_of_a_file_does_not_go_to_a_cluster_that_a_variable_names() {
    let home = Home::new();
    home.cluster(
        "one",
        "[core]\ndcos_url = \"https://one\"\ndcos_acs_token = \"t1\"\n[marathon]\nurl = \"https://m\"\n",
    );

    let same = home.attached(&[("DCOS_URL", "https://ONE:443")]);
    let other = home.attached(&[("DCOS_URL", "https://two")]).expect("two");

    assert_eq!(token(&same.expect("one")), Some("t1".to_owned()));
    assert_eq!(token(&other), None);
    assert_eq!(other.marathon, "https://two/service/marathon");
}

/// As DC/OS starts a service that has an account: no folder of a person, and the account in the environment.
#[test]
fn a_service_of_the_cluster_finds_it_by_its_account() {
    let home = Home::new();
    let key = include_str!("../../tests/data/keys/service-account.pkcs8.pem");
    let account = serde_json::json!({
        "uid": "deployer", "private_key": key, "scheme": "RS256",
        "login_endpoint": "https://leader.mesos/acs/api/v1/auth/login",
    });
    let path = home.write("account.json", &account.to_string());
    let path = path.display().to_string();

    for told in [account.to_string(), path.clone(), format!("file://{path}")] {
        let cluster = home.attached(&[("DCOS_SERVICE_ACCOUNT_CREDENTIAL", &told)]);
        let cluster = cluster.expect("a cluster");
        assert_eq!(cluster.url, "https://leader.mesos");
        assert_eq!(
            cluster.token.to_string(),
            "the login of the service account deployer"
        );
    }
    let gone = home.attached(&[("DCOS_SERVICE_ACCOUNT_CREDENTIAL", "/nowhere")]);
    assert!(gone.expect_err("no file").to_string().contains("/nowhere"));
}

#[test]
fn credentials_go_to_the_cluster_and_not_to_a_marathon_beside_it() {
    let home = Home::new();
    home.cluster(
        "one",
        "[core]\ndcos_url = \"https://one\"\ndcos_acs_token = \"t1\"\n[marathon]\nurl = \"http://one:8080\"\n",
    );

    let access = home.attached(&[]).expect("one").access(Credentials::None);

    assert_eq!(access.urls, ["http://one:8080"]);
    assert_eq!(access.credentials_for, Some(vec!["https://one".to_owned()]));
}

#[test]
fn a_file_that_cannot_be_read_is_told_without_its_token() {
    let home = Home::new();
    home.cluster("one", "[core]\ndcos_acs_token = \"s3cr3t\n");

    let error = home.attached(&[]).expect_err("no TOML");

    assert!(!format!("{error} {error:?}").contains("s3cr3t"), "{error}");
}

#[test]
fn an_address_alone_is_a_cluster_with_its_usual_marathon_or_the_one_of_its_path() {
    let usual = Cluster::at("https://master/").expect("an address");
    let other = Cluster::at("https://master/service/mom").expect("an address");

    assert_eq!(usual.marathon, "https://master/service/marathon");
    assert_eq!(other.marathon, "https://master/service/mom");
    assert_eq!(
        (usual.url, other.url),
        ("https://master".into(), "https://master".into())
    );
}

struct Home(TempDir);

impl Home {
    fn new() -> Self {
        Self(TempDir::new().expect("a folder"))
    }

    fn attached(&self, more: &[(&str, &str)]) -> Result<Cluster, DriverError> {
        let folder = self.0.path().join(".dcos").display().to_string();
        let mut set = BTreeMap::from([("DCOS_DIR", folder.as_str())]);
        set.extend(more.iter().copied());
        Cluster::attached(&|name| set.get(name).map(|&value| value.to_owned()))
    }

    fn cluster(&self, id: &str, text: &str) -> PathBuf {
        self.write(&format!("clusters/{id}/dcos.toml"), text)
    }

    fn attach(&self, id: &str) {
        self.write(&format!("clusters/{id}/attached"), "");
    }

    fn write(&self, path: &str, text: &str) -> PathBuf {
        let file = self.0.path().join(".dcos").join(path);
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("is made");
        std::fs::write(&file, text).expect("is written");
        let ours = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&file, ours).expect("ours");
        file
    }
}

fn token(cluster: &Cluster) -> Option<String> {
    match &cluster.token {
        Credentials::Token { token, .. } => Some(token.expose().to_owned()),
        Credentials::None | Credentials::Basic { .. } | Credentials::Login(_) => None,
    }
}
