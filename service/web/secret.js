// Show a secret, once: it is in no later answer, and leaves the page when the dialog is closed.
import { $ } from "./dom.js";

/** Return when a person has closed it. */
export function showSecret({ title, text, secret }) {
  const dialog = $("secret");
  $("secret-title").textContent = title;
  $("secret-text").textContent = text;
  $("secret-value").value = secret;
  $("secret-told").textContent = "";
  dialog.showModal();
  $("secret-value").select();
  return new Promise((resolve) => {
    dialog.onclose = () => {
      $("secret-value").value = "";
      resolve();
    };
  });
}

export function startSecret() {
  $("secret-copy").addEventListener("click", async () => {
    $("secret-value").select();
    const isCopied = await copy($("secret-value").value);
    $("secret-told").textContent = isCopied ? "Copied." : "This browser lets no page copy here. It is selected: press Ctrl+C.";
  });
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text); // only where the page came by TLS or from this machine
    return true;
  } catch {
    return document.execCommand("copy");
  }
}
