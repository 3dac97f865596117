//! OAuth against a server that is resource and authorization server in one: what the official suite does not look at, above all
//! the life of a refresh token.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use serde_json::json;
use volley::{Client, Config, ErrorKind, OAuth};
use volley_tests::{
    calls::echo,
    wait::story,
    web_server::{Answer, Asked, HttpServer},
};

const REDIRECT: &str = "http://127.0.0.1:1/callback";

/// A parameter of a form or a query, as it is written.
fn parameter(text: &str, name: &str) -> Option<String> {
    let text = text.split_once('?').map_or(text, |(_, query)| query);
    text.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
}

/// Consent without a browser: the way back, with what the request said.
fn consent(url: &str) -> String {
    let state = parameter(url, "state").unwrap_or_default();
    format!("{REDIRECT}?code=c&state={state}")
}

/// Token `t{n}` is good while `n` is the generation. `grants` says how the token endpoint answers.
fn server(
    generation: &Arc<AtomicUsize>,
    grants: impl Fn(&Asked) -> Answer + Send + Sync + 'static,
) -> HttpServer {
    let generation = Arc::clone(generation);
    HttpServer::start(move |origin, asked| {
        let path = asked.target.split('?').next().unwrap_or_default();
        match path {
            "/mcp" if asked.authorization == format!("Bearer t{}", generation.load(Ordering::Acquire)) => {
                asked.welcome()
            }
            "/mcp" => Answer::refused(401, "Bearer"),
            "/.well-known/oauth-protected-resource" => Answer::json(&json!({
                "resource": origin, "authorization_servers": [origin], "scopes_supported": ["use"],
            })),
            "/.well-known/oauth-authorization-server" => Answer::json(&json!({
                "issuer": origin,
                "authorization_endpoint": format!("{origin}/authorize"),
                "token_endpoint": format!("{origin}/token"),
                "registration_endpoint": format!("{origin}/register"),
                "code_challenge_methods_supported": ["S256"],
                "token_endpoint_auth_methods_supported": ["none"],
                "scopes_supported": ["use", "offline_access"],
            })),
            "/register" => Answer::json(&json!({"client_id": "dynamic"})),
            "/token" => grants(asked),
            _ => Answer::nothing(),
        }
    })
}

fn token(generation: usize) -> Answer {
    Answer::json(&json!({
        "access_token": format!("t{generation}"), "token_type": "Bearer", "refresh_token": format!("r{generation}"),
    }))
}

#[test]
fn a_refresh_token_spares_the_user_and_each_is_used_once() {
    story(async {
        let generation = Arc::new(AtomicUsize::new(1));
        let current = Arc::clone(&generation);
        let server = server(&generation, move |_| token(current.load(Ordering::Acquire)));
        let asked = Arc::new(AtomicUsize::new(0));
        let consents = Arc::clone(&asked);
        let oauth = OAuth::authorization_code(REDIRECT, move |url| {
            consents.fetch_add(1, Ordering::AcqRel);
            assert_eq!(parameter(url, "code_challenge_method").as_deref(), Some("S256"));
            assert_eq!(parameter(url, "scope").as_deref(), Some("offline_access+use"));
            Ok(consent(url))
        });
        assert!(!format!("{oauth:?}").contains("127.0.0.1"));
        let config = Config::builder().credentials(oauth).build().unwrap();
        let client = Client::connect(&server.endpoint(), config).await.unwrap();
        for now in 2..5 {
            client.call(echo(now)).await.unwrap();
            generation.fetch_add(1, Ordering::AcqRel);
        }
        client.call(echo(5)).await.unwrap();
        assert_eq!(asked.load(Ordering::Acquire), 1);
        let forms = server.asked(|asked| asked.target == "/token");
        let refreshed: Vec<_> =
            forms.iter().filter_map(|form| parameter(&form.body, "refresh_token")).collect();
        assert_eq!(refreshed, ["r1", "r2", "r3"]);
        let resource = server.origin().replace(':', "%3A").replace('/', "%2F");
        for form in &forms {
            assert_eq!(parameter(&form.body, "resource").as_deref(), Some(resource.as_str()));
            assert_eq!(parameter(&form.body, "client_id").as_deref(), Some("dynamic"));
        }
        assert_eq!(server.asked(|asked| asked.target == "/register").len(), 1);
        client.close().await;
    });
}

#[test]
fn a_refresh_that_is_refused_leads_back_to_the_user() {
    story(async {
        let generation = Arc::new(AtomicUsize::new(1));
        let current = Arc::clone(&generation);
        let server = server(&generation, move |asked| {
            if asked.body.contains("grant_type=refresh_token") {
                return Answer::refused(400, "");
            }
            token(current.load(Ordering::Acquire))
        });
        let asked = Arc::new(AtomicUsize::new(0));
        let consents = Arc::clone(&asked);
        let oauth = OAuth::authorization_code(REDIRECT, move |url| {
            consents.fetch_add(1, Ordering::AcqRel);
            Ok(consent(url))
        });
        let config = Config::builder().credentials(oauth).build().unwrap();
        let client = Client::connect(&server.endpoint(), config).await.unwrap();
        client.call(echo(1)).await.unwrap();
        generation.fetch_add(1, Ordering::AcqRel);
        client.call(echo(2)).await.unwrap();
        assert_eq!(asked.load(Ordering::Acquire), 2);
        client.close().await;
    });
}

#[test]
fn an_answer_with_another_state_is_not_believed_and_its_code_not_shown() {
    story(async {
        let server = server(&Arc::new(AtomicUsize::new(1)), |_| token(1));
        let oauth =
            OAuth::authorization_code(REDIRECT, |_| Ok(format!("{REDIRECT}?code=sesame&state=guessed")));
        let config = Config::builder().credentials(oauth).build().unwrap();
        let error = Client::connect(&server.endpoint(), config).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Unauthorized);
        assert!(error.to_string().contains("state"), "{error}");
        assert!(!format!("{error:?}").contains("sesame"));
        assert!(server.asked(|asked| asked.target == "/token").is_empty());
    });
}
