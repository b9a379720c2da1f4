//! The topology file: what is good, and each way of being bad.

use hongbao_core::topology::TopologyFile;

const GOOD: &str = r#"
version = 7

[[sets]]
name = "a"
slots = "00-49"
database = ["127.0.0.1:3306", "unix:/run/mysqld/mysqld.sock"]
cache = "redis://127.0.0.1:6379"
servers = [
    { name = "a1", address = "127.0.0.1:9001", memcached = "127.0.0.1:11211" },
    { name = "a2", address = "127.0.0.1:9002" },
]
workers = [{ name = "a-w1", address = "127.0.0.1:9101" }]

[[sets]]
name = "b"
slots = "50-97, 98, 99"
database = ["127.0.0.1:3307"]
servers = [{ name = "b1", address = "127.0.0.1:9003" }]

[[wallets]]
name = "w"
slots = "00-98/2, 01-99/2"
database = ["127.0.0.1:3308"]

[[gateways]]
name = "g1"
address = "127.0.0.1:8080"
"#;

fn read(text: &str) -> Result<TopologyFile, String> {
    let file: TopologyFile = toml::from_str(text).map_err(|error| error.to_string())?;
    file.check().map(|()| file)
}

#[test]
fn a_good_file_says_who_belongs_where() {
    let file = read(GOOD).unwrap();
    let (set, server) = file.server("a2").unwrap();
    assert_eq!((set.name.as_str(), server.address.port()), ("a", 9002));
    assert_eq!(file.worker("a-w1").unwrap().0.name, "a");
    assert_eq!(file.gateway("g1").unwrap().address.port(), 8080);
    assert!(file.server("g1").is_none());
    let routing = file.routing().unwrap();
    assert_eq!(routing.set_of(hongbao_core::Slot::new(98).unwrap()).name, "b");
}

#[test]
fn a_set_and_the_wallet_may_lie_in_one_database() {
    read(&GOOD.replace("127.0.0.1:3308", "127.0.0.1:3306")).unwrap();
}

#[test]
fn a_bad_file_is_refused_with_words_that_name_what_is_wrong() {
    for (from, to, reason) in [
        ("50-97", "49-97", "slot 49 is held by \"a\" and by \"b\""),
        ("50-97, 98, 99", "50-97, 98", "slot 99 is held by no SET"),
        ("00-98/2, 01-99/2", "00-98/2", "wallet slot 01 is held by no wallet"),
        ("00-98/2, 01-99/2", "00-99, 7", "wallet slot 07 is held by"),
        ("50-97, 98, 99", "50-97, 98, 100", "no list of slots"),
        ("50-97", "97-50", "no list of slots"),
        ("50-97", "", "no list of slots"),
        ("name = \"b\"", "name = \"a\"", "named twice"),
        ("name = \"b1\"", "name = \"a1\"", "named twice"),
        ("name = \"a-w1\"", "name = \"a1\"", "the name is used twice"),
        ("name = \"g1\"", "name = \"g 1\"", "a name is"),
        ("127.0.0.1:9003", "127.0.0.1:9002", "is used twice"),
        ("127.0.0.1:9003", "localhost", "invalid socket address"),
        ("[\"127.0.0.1:3307\"]", "[]", "has no database"),
        ("127.0.0.1:3307", "127.0.0.1", "neither host:port nor unix:/path"),
        ("unix:/run", "unix:run", "neither host:port nor unix:/path"),
        ("version = 7", "version = 7\ncolour = 1", "colour"),
        ("127.0.0.1:3307", "127.0.0.1:3306", "SET \"b\": \"127.0.0.1:3306\" belongs to SET \"a\" already"),
        ("unix:/run/mysqld/mysqld.sock", "127.0.0.1:3306", "SET \"a\" names \"127.0.0.1:3306\" twice"),
        (
            "[\"127.0.0.1:3307\"]",
            "[\"127.0.0.1:3307\"]\ncache = \"redis://127.0.0.1:6379\"",
            "SET \"b\": \"redis://127.0.0.1:6379\" belongs to SET \"a\" already",
        ),
        ("[\"127.0.0.1:3308\"]", "[\"127.0.0.1:3308\", \"127.0.0.1:3308\"]", "wallet \"w\" names"),
        (
            "slots = \"00-98/2, 01-99/2\"",
            "slots = \"00-49\"\ndatabase = [\"127.0.0.1:3308\"]\n[[wallets]]\nname = \"v\"\nslots = \"50-99\"",
            "wallet \"v\": \"127.0.0.1:3308\" belongs to wallet \"w\" already",
        ),
        ("cache =", "cash =", "cash"),
        ("version = 7", "", "version"),
    ] {
        assert!(GOOD.contains(from), "{from}");
        let error = read(&GOOD.replacen(from, to, 1)).unwrap_err();
        assert!(error.contains(reason), "{to:?} gave {error:?}");
    }
    assert!(read("").unwrap_err().contains("version"), "an empty file");
}

#[test]
fn a_set_weighs_as_much_as_its_slots_unless_the_file_says_otherwise() {
    let weights = |text: &str| {
        let sets = read(text).unwrap().sets;
        sets.iter().map(|set| f64::from(set.weight())).collect::<Vec<_>>()
    };
    assert_eq!(weights(GOOD), [50.0, 50.0]);
    assert_eq!(weights(&GOOD.replace("slots = \"00-49\"", "slots = \"00-49\"\nweight = 0.01")), [0.01, 50.0]);
    assert_eq!(weights(&GOOD.replace("slots = \"00-49\"", "slots = \"00-49\"\nweight = 0")), [0.0, 50.0]);
    let written = toml::to_string(&read(&GOOD.replace("cache =", "weight = 2.5\ncache =")).unwrap()).unwrap();
    assert_eq!(weights(&written), [2.5, 50.0], "{written}");
}

#[test]
fn a_weight_that_is_none_and_a_file_in_which_no_set_is_wanted_are_refused() {
    for weight in ["-1", "nan", "inf", "1e-9", "1000001"] {
        let error = read(&GOOD.replace("cache =", &format!("weight = {weight}\ncache ="))).unwrap_err();
        assert!(error.contains("weight") && error.contains("is not a number from 0 to 1000000"), "{weight}: {error}");
    }
    assert!(read(&GOOD.replace("cache =", "weight = \"1\"\ncache =")).unwrap_err().contains("weight"));
    let drained = GOOD.replace("database = [", "weight = 0\ndatabase = [");
    let drained = drained.replace("slots = \"00-98/2, 01-99/2\"\nweight = 0\n", "slots = \"00-98/2, 01-99/2\"\n");
    let error = read(&drained).unwrap_err();
    assert!(error.contains("every SET has weight 0"), "{error}");
}

#[test]
fn a_canary_needs_a_rule_that_can_be_kept_and_another_set_that_stays() {
    let canary = |rule: &str| GOOD.replace("workers = [", &format!("canary = {{ {rule} }}\nworkers = ["));
    let file = read(&canary("errors_max = 0.01, p99_factor_max = 2")).unwrap();
    let rule = file.sets[0].canary.clone().unwrap();
    assert_eq!((rule.window_s, rule.requests_min), (60, 100), "the defaults");
    assert_eq!(toml::from_str::<TopologyFile>(&toml::to_string(&file).unwrap()).unwrap(), file);
    let error = read(&canary("requests_min = 5")).unwrap_err();
    assert!(error.contains("SET \"a\": canary: it needs errors_max"), "{error}");
    let others_drained =
        canary("errors_max = 0.01").replace("[\"127.0.0.1:3307\"]", "[\"127.0.0.1:3307\"]\nweight = 0");
    let error = read(&others_drained).unwrap_err();
    assert!(error.contains("every SET with a weight is a canary"), "{error}");
}
