//! A SET that has left: who answers for its envelopes, and which files may say so.

use hongbao_core::Timestamp;
use hongbao_core::id::Fold;
use hongbao_core::topology::TopologyFile;

use crate::sample::{NEW_YEAR as NOW, id_in};

const DAY_MS: i64 = 86_400_000;

fn day(days: i64) -> Timestamp {
    NOW.plus_millis(days * DAY_MS)
}

fn set(name: &str, slots: &str, number: u16) -> String {
    let (server, database) = (9_000 + number, 3_300 + number);
    let slots = if slots.is_empty() { String::new() } else { format!("slots = \"{slots}\"\n") };
    format!(
        "[[sets]]\nname = \"{name}\"\n{slots}database = [\"127.0.0.1:{database}\"]\n\
         servers = [{{ name = \"{name}1\", address = \"127.0.0.1:{server}\" }}]\n"
    )
}

fn map(days: i64, held: &[(&str, &str)]) -> String {
    let sets: Vec<String> =
        held.iter().map(|(name, slots)| format!("{{ name = \"{name}\", slots = \"{slots}\" }}")).collect();
    format!("[[maps]]\nfrom = \"{}\"\nsets = [{}]\n", day(days), sets.join(", "))
}

/// A hundred days ago SET b held the upper half; since then c has some of it and a the rest.
fn after(b: &str) -> String {
    let wallet = "[[wallets]]\nname = \"w\"\nslots = \"00-99\"\ndatabase = [\"127.0.0.1:3308\"]\n";
    let sets = [set("a", "00-49", 1), set("c", "", 3), b.to_owned()].concat();
    let maps = [map(-100, &[("a", "00-89"), ("c", "90-99")]), map(-50, &[("a", "00-79"), ("c", "80-99")])].concat();
    format!("version = 3\n{sets}{maps}{wallet}")
}

const LEFT: &str = "[[left]]\nname = \"b\"\nslots = \"50-99\"\ndatabases = 20\n";

fn read(text: &str) -> Result<TopologyFile, String> {
    let file: TopologyFile = toml::from_str(text).map_err(|error| error.to_string())?;
    file.check(NOW).map(|()| file)
}

#[test]
fn the_sets_that_got_its_slots_answer_for_its_envelopes() {
    let (before, file) = (read(&after(&set("b", "50-99", 2))).unwrap(), read(&after(LEFT)).unwrap());
    let holder = |file: &TopologyFile, slot, days| {
        let id = id_in(slot, day(days));
        file.routing().unwrap().set_of(id).name.clone()
    };
    for (slot, days, was, is) in
        [(10, -120, "a", "a"), (50, -120, "b", "a"), (85, -120, "b", "a"), (85, -5, "c", "c"), (95, -120, "b", "c")]
    {
        assert_eq!((holder(&before, slot, days), holder(&file, slot, days)), (was.to_owned(), is.to_owned()), "{slot}");
    }
    let held = file.held_by_left(&file.left[0], Fold::WHOLE).unwrap();
    assert!(held.holds(id_in(50, day(-120))) && !held.holds(id_in(50, day(-99))));
    assert_eq!(held.databases(), (0..20).collect());
    assert_eq!(toml::from_str::<TopologyFile>(&toml::to_string(&file).unwrap()).unwrap(), file);
}

#[test]
fn one_that_holds_slots_has_not_left() {
    let holds_on = after(LEFT).replacen("\"00-79\"", "\"00-69\"", 1).replacen(
        "{ name = \"c\", slots = \"80-99\" }",
        "{ name = \"c\", slots = \"80-99\" }, { name = \"b\", slots = \"70-79\" }",
        1,
    );
    let error = read(&holds_on).unwrap_err();
    assert!(error.contains("SET \"b\" has left, and slot 70 has no other holder"), "{error}");
    for days in [-40, 5] {
        let error = read(&(holds_on.clone() + &map(days, &[("a", "00-79"), ("c", "80-99")]))).unwrap_err();
        assert!(error.contains("SET \"b\" has left, and held slots within the last 45 days"), "{error}");
    }
    let error = read(&(after(&set("b", "50-99", 2)) + LEFT)).unwrap_err();
    assert!(error.contains("SET \"b\" is named twice"), "{error}");
}

#[test]
fn it_leaves_what_was_is_as_it_was_and_it_never_comes_back() {
    let file = |text: &str| read(text).unwrap();
    let (before, left) = (
        after(&set("b", "50-99", 2)).replace("slots = \"50-99\"\n", "slots = \"50-99\"\ndatabases = 20\n"),
        after(LEFT),
    );
    file(&left).check_follows(&file(&before), NOW, false).unwrap();
    let fold = Fold::WHOLE;
    let (next, current) = (file(&left).slot_maps(fold).unwrap(), file(&before).slot_maps(fold).unwrap());
    assert_eq!(next.leaving(&current).collect::<Vec<_>>(), ["b"]);
    assert_eq!(hongbao_core::slot_maps::SlotMaps::parse(&next.to_text()), Some(next.clone()));
    let error = file(&before).check_follows(&file(&left), NOW, false).unwrap_err();
    assert!(error.contains("SET \"b\" has left and stays among [[left]]"), "{error}");
    let other = left.replace("databases = 20\n", "");
    let error = file(&other).check_follows(&file(&before), NOW, false).unwrap_err();
    assert!(error.contains("it changes the slots from the beginning"), "{error}");
}
