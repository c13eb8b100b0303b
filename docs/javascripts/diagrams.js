// Draws the fenced mermaid blocks of a page. The library is three megabytes, so only pages that
// have one load it, and it comes from this site (`make docs` puts it beside this file).
const blocks = document.querySelectorAll("pre.diagram");
if (blocks.length) {
  const library = document.createElement("script");
  library.src = new URL("mermaid.min.js", document.currentScript.src).href;
  library.onload = () => {
    const dark = document.body.dataset.mdColorScheme === "slate";
    mermaid.initialize({ startOnLoad: false, theme: dark ? "dark" : "neutral" });
    for (const block of blocks) {
      block.textContent = block.textContent.trim();
    }
    mermaid.run({ nodes: blocks });
  };
  document.head.append(library);
}
