//! Where the daemon's socket may be.

use std::path::{Path, PathBuf};

/// Where Docker and, failing that, Podman put their sockets when root runs them.
const USUAL_SOCKETS: [&str; 2] = ["/var/run/docker.sock", "/run/podman/podman.sock"];

/// Returns the sockets to be tried, in order: the one that was asked for, else the one that
/// `DOCKER_HOST` names, else the usual ones.
///
/// A `DOCKER_HOST` that is no `unix://` address is of no use here: containers of another machine
/// cannot be probed.
pub(crate) fn candidates(wanted: Option<&Path>, docker_host: Option<&str>) -> Vec<PathBuf> {
    let named = docker_host.and_then(|host| host.strip_prefix("unix://"));
    match (wanted, named.filter(|path| !path.is_empty())) {
        (Some(path), _) => vec![path.to_owned()],
        (None, Some(path)) => vec![PathBuf::from(path)],
        (None, None) => USUAL_SOCKETS.map(PathBuf::from).to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_that_was_asked_for_comes_before_the_environments_and_the_usual_ones() {
        let wanted = Path::new("/mine");

        assert_eq!(
            candidates(Some(wanted), Some("unix:///other")),
            [PathBuf::from("/mine")]
        );
        assert_eq!(
            candidates(None, Some("unix:///other")),
            [PathBuf::from("/other")]
        );
    }

    #[test]
    fn a_docker_host_elsewhere_is_passed_over() {
        for host in [None, Some("tcp://10.0.0.1:2376"), Some("unix://"), Some("")] {
            assert_eq!(
                candidates(None, host),
                USUAL_SOCKETS.map(PathBuf::from),
                "{host:?}"
            );
        }
    }
}
