// Theme and language, chosen before the first paint and remembered in two cookies; nothing else is kept.
(() => {
  const cookie = (name) => (document.cookie.match(new RegExp("(?:^|; )" + name + "=([^;]*)")) || [])[1];
  const keep = (name, value) => {
    document.cookie = `${name}=${value}; path=/; max-age=31536000; samesite=strict`;
  };
  const system = () => matchMedia("(prefers-color-scheme: dark)").matches;
  const theme = () => cookie("desirepath_theme") || "system";
  const show = () => {
    const dark = theme() === "dark" || (theme() === "system" && system());
    document.body.classList.toggle("body--dark", dark);
    document.body.classList.toggle("body--light", !dark);
    const button = document.getElementById("dp-theme");
    if (button) button.querySelector(".dp-long").textContent = button.dataset[theme()];
  };
  window.desirepath = {
    show,
    theme() {
      const order = ["system", "light", "dark"];
      keep("desirepath_theme", order[(order.indexOf(theme()) + 1) % 3]);
      show();
      window.Quasar?.Dark.set(theme() === "system" ? "auto" : theme() === "dark");
      show();
    },
    language(code) {
      keep("desirepath_language", code);
      location.reload();
    },
    project(name) {
      const to = new URL(location.pathname.split("/").slice(0, 3).join("/"), location);
      to.searchParams.set("project", name);
      location = to;
    },
  };
  show();
  const here = document.querySelector(".dp-nav [aria-current]");
  if (here) here.parentElement.scrollLeft = here.offsetLeft - 60;
})();
