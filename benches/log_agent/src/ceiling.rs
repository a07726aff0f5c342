//! The memory ceiling that log_agent prints at start.

/// The total of the printed table, in MiB.
pub fn printed(text: &str) -> Option<f64> {
    let table = text.split_once("the memory ceiling is")?.1;
    // Before each line of it stand the time and where it comes from.
    let total =
        table.lines().find_map(|line| line.rsplit_once("] ").map_or(line, |(_, row)| row).strip_prefix("total "))?;
    let mut words = total.split_whitespace();
    let number: f64 = words.next()?.parse().ok()?;
    let unit = match words.next()? {
        "B" => -20,
        "KiB" => -10,
        "MiB" => 0,
        "GiB" => 10,
        "TiB" => 20,
        _ => return None,
    };
    Some(number * 2_f64.powi(unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: &str = "\
[2026-11-21T23:19:48Z INFO  sluicegate::server::launch] listening on 127.0.0.1:18391; the memory ceiling is
[2026-11-21T23:19:48Z INFO  sluicegate::server::launch] inbound small       18.1 MiB  4096 x (4 KiB + 512 B)
[2026-11-21T23:19:48Z INFO  sluicegate::server::launch] total              151.6 MiB
[2026-11-21T23:19:48Z INFO  sluicegate::server::launch] not counted: socket buffers in the kernel, 576 GiB at most
";

    #[test]
    fn the_total_is_read_in_its_unit() {
        assert_eq!(printed(START), Some(151.6));
        assert_eq!(printed(&START.replace("151.6 MiB", "1.5 GiB  2 processors x 512 MiB + 512 MiB")), Some(1536.0));
        assert_eq!(printed(&START.replace("151.6 MiB", "512 KiB")), Some(0.5));
    }

    #[test]
    fn what_is_not_printed_is_not_guessed() {
        assert_eq!(printed(""), None);
        assert_eq!(printed(&START.replace("total", "sum")), None);
        assert_eq!(printed(&START.replace("151.6 MiB", "151.6 miles")), None);
        let before = START.replace("total", "sum");
        assert_eq!(printed(&format!("[recovery] total 12 MiB\n{before}")), None, "a total of something else");
    }
}
