function render({ model, el }) {
  const set = document.createElement("fieldset"), legend = document.createElement("legend"), id = "squat" + Math.random().toString(36).slice(2);
  el.classList.add("bige-choice"); el.append(set);
  const show = () => {
    const focused = set.contains(document.activeElement);
    legend.textContent = model.get("title"); set.replaceChildren(legend);
    model.get("options").forEach((text, i) => {
      const label = document.createElement("label"), input = document.createElement("input");
      Object.assign(input, { type: "radio", name: id, value: i, checked: i === model.get("index") });
      input.onchange = () => { model.set("index", i); model.save_changes() };
      label.append(input, " " + text); set.append(label);
      if (focused && input.checked) input.focus();
    });
  };
  model.on("change:options", show);
  model.on("change:index", () => set.querySelectorAll("input").forEach((x, i) => x.checked = i === model.get("index")));
  show();
}
export default { render };
