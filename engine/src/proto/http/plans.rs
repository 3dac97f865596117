//! Which parameters of which tools are mirrored in headers, gathered from the pages of `tools/list`.
//!
//! Slow path, once a server: serde_json, owned values. Follows: MCP 2026-07-28, basic/transports, "Custom Headers from Tool
//! Parameters".

use std::collections::HashMap;

use serde_json::Value;

use super::request::{Plan, plan};

/// The tools that want parameters mirrored, by name. A tool that is not in it wants none.
pub(crate) type ToolPlans = HashMap<Box<str>, Plan>;

/// Adds the tools of one page, which is the result of `tools/list`; returns the cursor of the next page. Tools whose
/// annotations are invalid are left out: they may not be called, and whoever lists tools leaves them out as well.
pub(crate) fn add_page(plans: &mut ToolPlans, result: &Value) -> Option<String> {
    for tool in result["tools"].as_array().into_iter().flatten() {
        if let (Some(name), Ok(plan)) = (tool["name"].as_str(), plan(&tool["inputSchema"]))
            && !plan.is_empty()
        {
            plans.insert(name.into(), plan);
        }
    }
    result["nextCursor"].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_tools_with_valid_annotations_have_a_plan_and_pages_go_on() {
        let mut plans = ToolPlans::new();
        let page = json!({
            "tools": [
                {"name": "plain", "inputSchema": {"type": "object"}},
                {"name": "annotated", "inputSchema": {"type": "object", "properties": {
                    "region": {"type": "string", "x-mcp-header": "Region"}}}},
                {"name": "broken", "inputSchema": {"type": "object", "properties": {
                    "region": {"type": "string", "x-mcp-header": "not a token"}}}},
            ],
            "nextCursor": "",
        });
        assert_eq!(add_page(&mut plans, &page), Some(String::new()));
        assert_eq!(plans.keys().map(|name| &**name).collect::<Vec<_>>(), ["annotated"]);
        assert_eq!(add_page(&mut plans, &json!({"tools": []})), None);
    }
}
