//! The topology file: what is good, and each way of being bad.

use hongbao_core::Timestamp;
use hongbao_core::id::Fold;
use hongbao_core::limits::MAP_AHEAD_MS_MIN;
use hongbao_core::topology::{Decimal, TopologyFile};

use crate::sample::{NEW_YEAR as NOW, id_in};

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
    file.check(NOW).map(|()| file)
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
    let of_98 = id_in(98, NOW);
    assert_eq!(routing.set_of(of_98).name, "b");
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
        ("127.0.0.1:9003", "localhost", "is not a name or an IP address with a port"),
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
        let file = read(text).unwrap();
        let sets = &file.sets;
        sets.iter().map(|set| f64::from(file.weight_in(0, set))).collect::<Vec<_>>()
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

/// The same with a SET that was added later, and gets slots from a moment on.
fn grown(from: Timestamp) -> String {
    let set = "[[sets]]\nname = \"c\"\ndatabase = [\"127.0.0.1:3309\"]\n\
               servers = [{ name = \"c1\", address = \"127.0.0.1:9004\" }]\n";
    let map = format!(
        "[[maps]]\nfrom = \"{from}\"\nsets = [\n    {{ name = \"a\", slots = \"00-39\", databases = 20 }},\n    \
         {{ name = \"b\", slots = \"50-99\" }},\n    {{ name = \"c\", slots = \"40-49\" }},\n]\n"
    );
    GOOD.replace("[[wallets]]", &format!("{set}\n{map}\n[[wallets]]")).replace("version = 7", "version = 8")
}

#[test]
fn a_set_that_is_added_holds_slots_from_its_map_on_and_a_fold_may_grow_with_it() {
    let from = NOW.plus_millis(3_600_000);
    let file = read(&grown(from)).unwrap();
    assert_eq!(toml::from_str::<TopologyFile>(&toml::to_string(&file).unwrap()).unwrap(), file);
    let fold = Fold::new(4, 2).unwrap();
    let held = |name: &str| file.held_by(file.sets.iter().find(|set| set.name == name).unwrap(), fold).unwrap();
    let (before, then) = (from.plus_millis(-1), from);
    let (a, c) = (held("a"), held("c"));
    assert!(a.holds(id_in(45, before)) && !a.holds(id_in(45, then)) && a.holds(id_in(39, then)));
    assert!(!c.holds(id_in(45, before)) && c.holds(id_in(45, then)));
    assert_eq!((a.at(before).fold, a.at(then).fold), (fold, Fold::new(20, 2).unwrap()));
    assert_eq!((c.at(before).fold, c.at(then).fold), (fold, fold), "that of the installation");
    assert_eq!(a.databases(), (0..20).collect());
    assert_eq!(c.databases(), (0..4).collect());
    let weights = |map| file.sets.iter().map(|set| file.weight_in(map, set)).collect::<Vec<_>>();
    assert_eq!(weights(0), [50, 50, 0].map(Decimal::from), "one that holds nothing has no weight");
    assert_eq!(weights(1), [40, 50, 10].map(Decimal::from));
    assert_eq!((file.map_number_at(before), file.map_number_at(then)), (0, 1));
}

#[test]
fn a_bad_map_is_refused_with_words_that_name_what_is_wrong() {
    let good = grown(NOW);
    for (from, to, reason) in [
        ("slots = \"40-49\"", "slots = \"40-50\"", "slot 50 is held by \"b\" and by \"c\""),
        ("slots = \"40-49\"", "slots = \"40-48\"", "slot 49 is held by no SET"),
        ("databases = 20", "databases = 30", "databases = 30 does not divide 100"),
        ("{ name = \"c\", slots", "{ name = \"d\", slots", "there is no SET \"d\""),
        ("\nfrom = \"2026", "\nfrom = \"tomorrow 2026", "not an RFC 3339 time"),
        ("{ name = \"c\", slots = \"40-49\" }", "{ name = \"a\", slots = \"40-49\" }", "SET \"a\" is in it twice"),
        (
            "{ name = \"b\", slots = \"50-99\" },\n    { name = \"c\", slots = \"40-49\" }",
            "{ name = \"b\", slots = \"40-99\" }",
            "SET \"c\" holds no slot, now or later",
        ),
    ] {
        assert!(good.contains(from), "{from} in {good}");
        let error = read(&good.replacen(from, to, 1)).unwrap_err();
        assert!(error.contains(reason), "{to:?} gave {error:?}");
    }
    let drained = good.replace("name = \"c\"\ndatabase", "name = \"c\"\nweight = 0\ndatabase");
    let all = drained.replace("\"00-39\"", "\"\"").replace("{ name = \"a\", slots = \"\", databases = 20 },", "");
    let all = all.replace("{ name = \"b\", slots = \"50-99\" },", "").replace("\"40-49\"", "\"00-99\"");
    let error = read(&all).unwrap_err();
    assert!(error.contains("map from 2026-") && error.contains("every SET has weight 0"), "{error}");
}

#[test]
fn a_file_takes_the_place_of_another_if_it_changes_nothing_for_ids_that_may_exist() {
    let file = |text: &str| read(text).unwrap();
    let (near, far) = (NOW.plus_millis(MAP_AHEAD_MS_MIN - 1), NOW.plus_millis(MAP_AHEAD_MS_MIN));
    let shifted = |from| grown(from).replace("00-39", "00-38").replace("40-49", "39-49");
    let refused = |next: &str, current: &str| file(next).check_follows(&file(current), NOW, false).unwrap_err();
    file(&grown(far)).check_follows(&file(GOOD), NOW, false).unwrap();
    file(&grown(far)).check_follows(&file(&grown(far)), far.plus_millis(1), false).unwrap();
    file(GOOD).check_follows(&file(&grown(far)), NOW, false).unwrap_err();
    file(&grown(far.plus_millis(5))).check_follows(&file(&grown(far)), NOW, false).unwrap();

    assert!(refused(&grown(near), GOOD).contains("is too near: now a new one can begin at"));
    assert!(refused(&grown(NOW.plus_millis(-9)), GOOD).contains("is too near"));
    // A server has refused what the old one gives to it, so the fences have come to the new one.
    file(&grown(near)).check_follows(&file(GOOD), NOW, true).unwrap();
    file(&grown(near)).check_follows(&file(GOOD), near.plus_millis(9_000), true).unwrap();
    file(&shifted(near)).check_follows(&file(&grown(near)), NOW, true).unwrap();
    file(GOOD).check_follows(&file(&grown(near)), NOW, true).unwrap_err();
    let spelled = grown(near).replace("00-39", "00-20, 21-39").replace("00-49", "01-49, 00");
    file(&spelled).check_follows(&file(&grown(near)), NOW, false).unwrap();
    let moved = refused(&grown(far), &grown(near));
    assert!(moved.contains("it changes the map from") && moved.contains("in force or about to be"), "{moved}");
    assert!(refused(&shifted(near), &grown(near)).contains("it changes the map from"));
    assert!(refused(GOOD, &grown(far)).contains("SET \"c\" is not in it"));
    let other_slots = GOOD.replace("00-49", "00-48").replace("50-97", "49-97");
    assert!(refused(&other_slots, GOOD).contains("it changes the slots from the beginning"));
    let databases = GOOD.replace("cache =", "databases = 20\ncache =");
    assert!(refused(&databases, GOOD).contains("it changes the slots from the beginning"));
}
