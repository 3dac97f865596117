//! Servers that have something to do while they end: they must be let.

use std::fs;

use volley::Command;
use volley_tests::calls::{echo, first_text, message};
use volley_tests::target;
use volley_tests::wait::story;

use super::connect;

/// The engine once closed a child's stdout and stderr together with its stdin. A server that said good-bye on its way out then
/// died of a broken pipe at its first word, before it had flushed what it wanted to keep.
#[test]
fn a_server_that_speaks_while_it_ends_gets_to_its_end() {
    story(async {
        let mark = std::env::temp_dir().join(format!("volley-good-bye-{}", std::process::id()));
        let _ = fs::remove_file(&mark);
        let script = format!(
            "'{}' serve --stdio; echo good-bye >&2; echo good-bye; head -c 300000 /dev/zero; echo ended > '{}'",
            target::loadgen().display(),
            mark.display()
        );
        let client = connect(Command::new("sh").arg("-c").arg(script).into(), |config| {
            config.close_grace(std::time::Duration::from_secs(10))
        })
        .await;
        let result = client.call(echo(1)).await.expect("an answer");
        assert_eq!(first_text(&result), message(1));
        client.close().await;
        assert_eq!(fs::read_to_string(&mark).expect("the server got to its end"), "ended\n");
        fs::remove_file(&mark).expect("it was there");
    });
}
