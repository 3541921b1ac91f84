// The buttons for the language and the light of a page.
const switches = (() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const chinese = () => root.lang === "zh-CN";

  function speak(language) {
    root.lang = language;
    for (const one of document.querySelectorAll("[data-en]")) {
      one.setAttribute("aria-label", chinese() ? one.dataset.zh : one.dataset.en);
    }
  }

  // As the browser has it at first; `redraw` draws what no style sheet reaches.
  function start(redraw) {
    document.getElementById("language").addEventListener("click", () => {
      speak(chinese() ? "en" : "zh-CN");
      redraw();
    });
    document.getElementById("theme").addEventListener("click", () => {
      const now = root.dataset.theme || (dark.matches ? "dark" : "light");
      root.dataset.theme = now === "dark" ? "light" : "dark";
      redraw();
    });
    dark.addEventListener("change", redraw);
    speak((navigator.language || "").toLowerCase().startsWith("zh") ? "zh-CN" : "en");
    redraw();
  }

  return { chinese, start };
})();
