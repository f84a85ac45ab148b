use std::io::Write as _;

use super::*;

/// Loads a file with this content under this environment and these flags.
fn load(
    file: &str,
    environment: &[(&str, &str)],
    flags: &[(&str, &str)],
) -> Result<(Config, Provenance), String> {
    let mut temporary = tempfile::Builder::new().suffix("belfry.toml").tempfile().unwrap();
    temporary.write_all(file.as_bytes()).unwrap();
    let pairs = |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect();
    let options = LoadOptions {
        file: Some(temporary.path().to_owned()),
        environment: pairs(environment),
        overrides: pairs(flags),
    };
    let path = temporary.path().display().to_string();
    Config::load(options).map_err(|error| error.to_string().replace(&path, "FILE"))
}

fn refusal(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> String {
    load(file, environment, flags).unwrap_err()
}

const THREE: &str = r#"
[cluster]
members = [
    { id = 1, api = "a:7400", peer = "a:7401" },
    { id = 2, api = "b:7400", peer = "b:7401" },
]
"#;

#[test]
fn the_defaults_are_a_node_that_is_alone_and_pass_every_check() {
    let (config, _) = load("", &[], &[]).unwrap();
    assert_eq!(config, Config { node: Node { id: 1, ..Node::default() }, ..Config::default() });
    assert!(config.is_alone() && config.bootstraps());
    assert_eq!(
        config.members(),
        [Member { id: 1, api: "127.0.0.1:7400".into(), peer: "127.0.0.1:7401".into() }]
    );
}

#[test]
fn a_member_of_a_cluster_listens_on_all_interfaces_unless_told() {
    let (config, provenance) = load(THREE, &[("BELFRY_NODE__ID", "2")], &[]).unwrap();
    assert_eq!(config.listen.api, "0.0.0.0:7400");
    assert_eq!(provenance.origin("listen.api"), "default");
    assert!(!config.bootstraps());
    let (config, _) =
        load(THREE, &[], &[("node.id", "1"), ("listen.api", "10.0.0.1:1"), ("cluster.bootstrap", "true")])
            .unwrap();
    assert_eq!(config.listen.api, "10.0.0.1:1");
    assert!(config.bootstraps());
}

#[test]
fn flags_beat_the_environment_which_beats_the_file_which_beats_the_defaults() {
    let file = "[raft]\nheartbeat_ms = 50\nelection_min_ms = 200\nlog_keep_mib = 8\n";
    let environment = [("BELFRY_RAFT__HEARTBEAT_MS", "60"), ("BELFRY_RAFT__ELECTION_MIN_MS", "210")];
    let (config, provenance) = load(file, &environment, &[("raft.heartbeat_ms", "70")]).unwrap();
    let raft = &config.raft;
    assert_eq!((raft.heartbeat_ms, raft.election_min_ms, raft.log_keep_mib), (70, 210, 8));
    assert_eq!(provenance.origin("raft.heartbeat_ms"), "flag");
    assert_eq!(provenance.origin("raft.election_min_ms"), "environment BELFRY_RAFT__ELECTION_MIN_MS");
    assert!(provenance.origin("raft.log_keep_mib").starts_with("file /"));
    assert_eq!(provenance.origin("raft.election_max_ms"), "default");
}

#[test]
fn the_environment_carries_texts_periods_and_members() {
    let environment = [
        ("BELFRY_CLUSTER__NAME", "2026"),
        ("BELFRY_DISPATCH__KEEP_ALIVE", "500ms"),
        ("BELFRY_CLUSTER__MEMBERS", r#"[{id=7, api="a:1", peer="a:2"}]"#),
        ("BELFRY_NODE__ID", "7"),
        ("BELFRY_LOG__FORMAT", "json"),
    ];
    let (config, _) = load("", &environment, &[]).unwrap();
    assert_eq!(config.cluster.name, "2026");
    assert_eq!(config.dispatch.keep_alive, Period(std::time::Duration::from_millis(500)));
    assert_eq!(config.cluster.members, [Member { id: 7, api: "a:1".into(), peer: "a:2".into() }]);
    assert_eq!(config.log.format, LogFormat::Json);
}

#[test]
fn variables_of_others_are_ignored() {
    let environment = [
        ("BELFRY_ENDPOINT", "x"),
        ("BELFRY_NAMESPACE", "x"),
        ("BELFRY_OUTPUT", "json"),
        ("BELFRY_CONFIG", "x"),
        ("BELFRY_NODE_PORT", "tcp://10.0.0.1:7400"),
        ("BELFRY_NODE_SERVICE_HOST", "10.0.0.1"),
        ("BELFRY_RUN", "x"),
        ("PATH", "/bin"),
    ];
    assert_eq!(load("", &environment, &[]).unwrap(), load("", &[], &[]).unwrap());
}

#[test]
fn keys_that_do_not_exist_are_refused_with_their_place() {
    assert_eq!(
        refusal("[raft]\nheartbeet_ms = 5\n", &[], &[]),
        "unknown key `raft.heartbeet_ms` in file FILE: the keys of [raft] are heartbeat_ms, election_min_ms, election_max_ms, checkpoint_interval, log_keep_mib"
    );
    assert!(
        refusal("[rafts]\n", &[], &[])
            .starts_with("unknown key `rafts` in file FILE: the sections are node,")
    );
    assert!(refusal("node = 1\n", &[], &[]).ends_with("write it as a section, [node]"));
    assert!(
        refusal("", &[("BELFRY_NODE__NUMBER", "1")], &[])
            .starts_with("unknown key `node.number` in environment BELFRY_NODE__NUMBER: ")
    );
    assert_eq!(
        refusal("", &[("BELFRY_NODE_ID", "1")], &[]),
        "unknown key `node.id` in environment BELFRY_NODE_ID: write BELFRY_NODE__ID"
    );
    assert!(
        refusal("", &[], &[("nodeid", "1")]).starts_with("unknown key `nodeid` in flag: write section.key")
    );
    let member = "[cluster]\nmembers = [{ id = 1, api = \"a:1\", peer = \"a:2\", admin = \"a:3\" }]\n";
    let refused = refusal(member, &[], &[]);
    assert!(
        refused.contains("cluster.members") && refused.contains("`admin`") && refused.contains("FILE"),
        "{refused}"
    );
}

#[test]
fn values_of_the_wrong_kind_are_refused_with_key_and_place() {
    let refused = refusal("[raft]\nheartbeat_ms = \"soon\"\n", &[], &[]);
    assert!(refused.starts_with("`raft.heartbeat_ms` (from file FILE): "), "{refused}");
    let refused = refusal("", &[], &[("dispatch.keep_alive", "soon")]);
    assert!(refused.starts_with("`dispatch.keep_alive` (from flag): "), "{refused}");
    assert!(refusal("[raft\n", &[], &[]).starts_with("the configuration file FILE is not TOML: "));
}

#[test]
fn all_values_out_of_bounds_are_named_at_once() {
    let file = "[raft]\nelection_min_ms = 150\nelection_max_ms = 100\n[limits]\npayload_bytes_max = 1\n";
    assert_eq!(
        refusal(file, &[], &[("listen.api", "localhost")]),
        "`listen.api` (from flag): `localhost` is not an address to listen on: write it as 0.0.0.0:7400 or [::]:7400\n\
         `raft.election_min_ms` (from file FILE): 150 is less than two heartbeats of 100 ms: one lost packet would start an election\n\
         `raft.election_max_ms` (from file FILE): 100 is not greater than raft.election_min_ms (150): nodes would stand for election at once\n\
         `limits.payload_bytes_max` (from file FILE): 1 is not between 1024 and 1048576"
    );
}

#[test]
fn two_things_cannot_listen_on_one_port() {
    let on = |api, peer, admin| {
        load("", &[], &[("listen.api", api), ("listen.peer", peer), ("listen.admin", admin)])
    };
    assert_eq!(
        on("127.0.0.1:7400", "127.0.0.1:7401", "0.0.0.0:7400").unwrap_err(),
        "`listen.admin` (from flag): 0.0.0.0:7400 is taken by listen.api: give each its own port"
    );
    on("127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0").unwrap();
    on("127.0.0.1:7400", "127.0.0.2:7400", "[::1]:7400").unwrap();
}

#[test]
fn two_members_cannot_share_an_address() {
    let shared = THREE.replace("b:7401", "a:7401");
    assert_eq!(
        refusal(&shared, &[], &[("node.id", "1")]),
        "`cluster.members` (from file FILE): `a:7401` is given twice: every member has its own api and peer address"
    );
    let alike = THREE.replace("b:7401", "b:7400");
    assert!(refusal(&alike, &[], &[("node.id", "1")]).contains("`b:7400` is given twice"));
}

#[test]
fn a_node_must_say_which_member_it_is() {
    assert_eq!(
        refusal(THREE, &[], &[]),
        "`node.id` (from default): is not set: give this node its id of cluster.members"
    );
    assert_eq!(
        refusal(THREE, &[], &[("node.id", "3")]),
        "`node.id` (from flag): 3 is not among cluster.members, which are 1, 2"
    );
    let twice = THREE.replace("id = 2", "id = 1").replace("b:7400", "0.0.0.0:7400");
    let refused = refusal(&twice, &[], &[("node.id", "1")]);
    assert!(
        refused.contains("id 1 is given twice") && refused.contains("`0.0.0.0:7400` of member 1"),
        "{refused}"
    );
}

#[test]
fn what_is_printed_can_be_read_again_and_says_its_origin() {
    let (config, provenance) = load(THREE, &[("BELFRY_NODE__ID", "2")], &[("log.level", "a\"b")]).unwrap();
    let printed = config.render_with_provenance(&provenance);
    assert!(
        printed.contains("id = 2                                       # from environment BELFRY_NODE__ID\n")
    );
    assert!(printed.contains("# from flag\n") && printed.contains("# from default\n"));
    assert_eq!(load(&printed, &[], &[]).unwrap().0, config);
}

#[test]
fn the_reference_is_the_defaults() {
    let reference = Config::reference();
    assert!(reference.contains("# Payload of a schedule: its encoded target.\npayload_bytes_max = 262144\n"));
    assert_eq!(load(&reference, &[], &[]).unwrap().0, load("", &[], &[]).unwrap().0);
}

#[test]
fn every_field_is_listed_and_has_its_own_variable() {
    let listed: Vec<String> = load::keys().collect();
    let values = text::values(&Config::default());
    let sections = values.as_object().unwrap();
    let actual: Vec<String> = sections
        .iter()
        .flat_map(|(section, fields)| {
            fields.as_object().unwrap().keys().map(move |key| format!("{section}.{key}"))
        })
        .collect();
    assert_eq!(listed, actual);
}

#[test]
fn recovery_cannot_be_switched_off_by_its_budget() {
    let refusal = refusal("[node]\nid = 1\n[dispatch]\ncatch_up_starts_per_second = 0\n", &[], &[]);
    assert!(refusal.contains("dispatch.catch_up_starts_per_second"), "{refusal}");
    assert!(refusal.contains("0 is not between 1 and 1000000"), "{refusal}");
}
