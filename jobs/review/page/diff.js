// What changed between two texts: words, and single characters where a language has no spaces.
// difference(a, b) gives [[kind, text], ...] with kind "same", "gone" or "new".
"use strict";

const DIFF_CELLS_MAX = 4e6;

function pieces(text) {
  return text.match(/[\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}\p{sc=Thai}]|[\p{L}\p{N}\p{M}]+|\s+|[^]/gu) || [];
}

// The longest common subsequence, from a table of its lengths. What both begin and end with is left
// out first; two long texts with nothing in common are shown as one replaced by the other.
function difference(a, b) {
  const left = pieces(a);
  const right = pieces(b);
  let begin = 0;
  while (begin < left.length && begin < right.length && left[begin] === right[begin]) begin++;
  let end = 0;
  while (end < left.length - begin && end < right.length - begin
         && left[left.length - 1 - end] === right[right.length - 1 - end]) end++;
  const parts = [];
  const add = (kind, text) => {
    const last = parts[parts.length - 1];
    if (!text) return;
    if (last && last[0] === kind) last[1] += text;
    else parts.push([kind, text]);
  };
  add("same", left.slice(0, begin).join(""));
  middle(left.slice(begin, left.length - end), right.slice(begin, right.length - end), add);
  add("same", left.slice(left.length - end).join(""));
  return parts;
}

function middle(left, right, add) {
  const columns = right.length + 1;
  if ((left.length + 1) * columns > DIFF_CELLS_MAX) {
    add("gone", left.join(""));
    add("new", right.join(""));
    return;
  }
  const lengths = new Uint32Array((left.length + 1) * columns);
  for (let i = left.length - 1; i >= 0; i--) {
    for (let j = right.length - 1; j >= 0; j--) {
      lengths[i * columns + j] = left[i] === right[j]
        ? lengths[(i + 1) * columns + j + 1] + 1
        : Math.max(lengths[(i + 1) * columns + j], lengths[i * columns + j + 1]);
    }
  }
  let i = 0;
  let j = 0;
  while (i < left.length || j < right.length) {
    if (i < left.length && j < right.length && left[i] === right[j]) {
      add("same", left[i++]);
      j++;
    } else if (i < left.length && (j === right.length
               || lengths[(i + 1) * columns + j] >= lengths[i * columns + j + 1])) {
      add("gone", left[i++]);
    } else {
      add("new", right[j++]);
    }
  }
}
