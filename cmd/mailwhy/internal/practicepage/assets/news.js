// Says that there is new mail, without changing what is being read.
"use strict";
const news = document.getElementById("news");
const timer = setInterval(async () => {
  try {
    const answer = await fetch("/newest");
    if (answer.ok && Number(await answer.text()) > Number(news.dataset.newest)) {
      news.hidden = false;
      clearInterval(timer);
    }
  } catch {
    // The upstream has ended, or starts again: the next time will tell.
  }
}, 2000);
