// Keys of the review page. Everything here can be done without it.
"use strict";
const card = document.getElementById("card");
const columns = [...card.querySelectorAll("[data-column]")];
const reply = document.getElementById("reply");
const singleKeys = card.dataset.singleKeys === "1";

function press(action) {
  const button = card.querySelector(`button[name=action][value=${action}]`);
  card.requestSubmit(button);
}

function focusColumn(column) {
  const radios = [...column.querySelectorAll("input[type=radio]")];
  (radios.find((radio) => radio.checked) || radios[0]).focus();
}

function choose(number) {
  const column = document.activeElement.closest("[data-column]") || columns[0];
  const radio = column.querySelectorAll("input[type=radio]")[number - 1];
  if (!radio) return;
  radio.checked = true;
  radio.focus();
  const select = radio.closest(".choice").querySelector("select");
  if (select) select.focus();
}

// a choice in the list of other labels means the radio button beside it
card.addEventListener("change", (event) => {
  if (event.target.tagName !== "SELECT") return;
  event.target.closest(".choice").querySelector("input[type=radio]").checked = true;
});

const keys = {
  Enter: () => press("save"),
  1: () => choose(1),
  2: () => choose(2),
  3: () => choose(3),
  4: () => choose(4),
  e: () => reply && reply.focus(),
  x: () => press("reject"),
  X: () => {
    card.querySelector(".reject").open = true;
    document.getElementById("reason").focus();
  },
  s: () => press("skip"),
  u: () => document.getElementById("undo").requestSubmit(),
  "?": () => {
    const help = document.getElementById("help");
    help.open = !help.open;
    help.querySelector("summary").focus();
  },
};

document.addEventListener("keydown", (event) => {
  const inText = event.target.matches("textarea, select, input:not([type=radio]):not([type=checkbox])");
  if (event.key === "Escape" && inText) {
    focusColumn(columns[0]);
    return;
  }
  if (event.key === "Enter" && event.ctrlKey) {
    event.preventDefault();
    press("save");
    return;
  }
  if (event.key === "Tab" && !event.shiftKey && event.target.type === "radio") {
    const next = columns[columns.indexOf(event.target.closest("[data-column]")) + 1];
    // from "other" it leads to the list of other labels, as without this script
    if (next && !event.target.closest(".choice").querySelector("select")) {
      event.preventDefault();
      focusColumn(next);
    }
    return;
  }
  if (inText || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (event.target.matches("button, a, summary") && event.key === "Enter") return;
  const action = keys[event.key];
  if (!action || (event.key !== "Enter" && !singleKeys)) return;
  event.preventDefault();
  action();
});

if (columns.length) focusColumn(columns[0]);
