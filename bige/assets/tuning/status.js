function render({ model, el }) {
  const text = document.createElement("span"), bar = document.createElement("progress");
  el.classList.add("bige-status"); text.setAttribute("role", "status"); bar.setAttribute("aria-label", "progress"); bar.max = 1; el.append(bar, text);
  const show = () => {
    const share = model.get("share");
    text.textContent = model.get("text"); el.dataset.tone = model.get("tone");
    bar.hidden = share === null; if (share > 0) bar.value = share; else bar.removeAttribute("value");
  };
  model.on("change", show);
  model.on("msg:custom", (message, buffers) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([buffers[0]])); link.download = message.download; link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  });
  show();
}
export default { render };
