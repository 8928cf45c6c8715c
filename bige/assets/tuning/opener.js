function render({ model, el }) {
  const button = document.createElement("button"), input = document.createElement("input");
  button.className = "jupyter-button"; button.type = "button"; input.type = "file"; input.hidden = true; input.accept = model.get("accept");
  button.onclick = () => input.click();
  input.onchange = async () => {
    const file = input.files[0];
    if (file) model.send({ name: file.name, size: file.size }, undefined,
                         file.size > model.get("most") ? [] : [await file.arrayBuffer()]);
    input.value = "";
  };
  const show = () => { button.textContent = model.get("label") };
  model.on("change:label", show); show();
  el.append(button, input);
}
export default { render };
