-- SPDX-License-Identifier: MIT

--- The style sheet of the dashboard.
-- @module perigee.dashboard.style

return [[
:root {
  color-scheme: light dark;
  --ground: #f5f6f8; --card: #ffffff; --ink: #171a20; --soft: #59616e; --line: #e1e5ea;
  --faint: #eef1f4; --accent: #0d7a70; --on-accent: #ffffff; --wash: #e3f2f0;
  --call: #6b7a90; --wait: #a3aebd; --load: #0d7a70; --hit: #3f9142; --stale: #b7791f;
  --change: #7c4dbd; --error: #c53030; --note: #59616e;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #101318; --card: #181c23; --ink: #e7eaef; --soft: #9aa4b2; --line: #2a303a;
    --faint: #20252d; --accent: #38bdae; --on-accent: #06211e; --wash: #17302e;
    --call: #93a2b8; --wait: #5c6777; --load: #38bdae; --hit: #6cc070; --stale: #dba54a;
    --change: #b794f0; --error: #f37c7c; --note: #9aa4b2;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--ground); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
  font-variant-numeric: tabular-nums;
}
h1, h2, h3, p, dl, dd, ul, figure { margin: 0; padding: 0; }
h1 { font-size: 1.6rem; line-height: 1.2; letter-spacing: -.02em; overflow-wrap: anywhere; }
h2 { font-size: 1.05rem; letter-spacing: -.01em; }
h3 { font-size: 1rem; letter-spacing: -.005em; }
a { color: var(--accent); text-underline-offset: 3px; }
code, pre, .entries .plain, .entries summary, .tag {
  font-family: ui-monospace, "SF Mono", "Cascadia Mono", Menlo, Consolas, monospace;
  font-size: .86em;
}
code { overflow-wrap: anywhere; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; border-radius: 4px; }
.hidden, .skip:not(:focus) {
  position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%);
  white-space: nowrap;
}
.skip:focus {
  position: absolute; left: 16px; top: 8px; background: var(--card); padding: 4px 12px;
}

.top {
  max-width: 1200px; margin: 0 auto; padding: 18px 24px 6px;
  display: flex; align-items: center; gap: 8px 14px; flex-wrap: wrap;
}
.brand {
  display: inline-flex; align-items: center; gap: 9px; color: inherit; text-decoration: none;
  font-weight: 650; font-size: 1.15rem; letter-spacing: -.015em;
}
.logo { width: 26px; height: 26px; }
.logo ellipse { fill: none; stroke: var(--accent); stroke-width: 2.5; }
.logo .body { fill: var(--accent); }
.logo .moon { fill: #e2725b; }
.where { color: var(--soft); font-size: .87rem; }
.status {
  margin-left: auto; font-size: .87rem; color: var(--soft); display: inline-flex;
  align-items: center; gap: 7px;
}
.status::before {
  content: ""; width: 8px; height: 8px; border-radius: 50%; background: var(--wait);
}
.status[data-state="live"]::before { background: var(--hit); }
.status[data-state="lost"] { color: var(--error); }
.status[data-state="lost"]::before { background: var(--error); }
main {
  max-width: 1200px; margin: 0 auto; padding: 10px 24px 64px;
  display: grid; grid-template-columns: minmax(0, 1fr); gap: 22px;
}
section { display: grid; grid-template-columns: minmax(0, 1fr); gap: 12px; }
.lead { color: var(--soft); }

.summary {
  display: grid; grid-template-columns: repeat(6, 1fr); background: var(--card);
  border: 1px solid var(--line); border-radius: 12px; overflow: hidden;
}
.summary .figure { padding: 13px 18px; box-shadow: -1px -1px 0 var(--line); }
.figure dt, .tile dt, .facts dt, .label { color: var(--soft); font-size: .8rem; }
.summary dd { font-size: 1.3rem; font-weight: 600; letter-spacing: -.02em; line-height: 1.35; }

.cards { display: grid; gap: 16px; grid-template-columns: repeat(auto-fit, minmax(330px, 1fr)); }
.card {
  background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 16px 18px;
  display: grid; grid-template-columns: minmax(0, 1fr); gap: 14px; align-content: start;
}
.card header { display: flex; gap: 12px; align-items: baseline; }
.card h3 { min-width: 0; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.card header a { margin-left: auto; font-size: .87rem; }
.hero { display: grid; grid-template-columns: auto minmax(0, 1fr); gap: 18px; align-items: center; }
.rate strong {
  display: block; font-size: 2.5rem; font-weight: 640; letter-spacing: -.045em; line-height: 1.05;
  min-width: 3.1ch;
}
.rate span, .under { color: var(--soft); font-size: .8rem; }
.plot { min-width: 0; }
.under { display: flex; justify-content: space-between; gap: 8px; }
.spark { display: block; width: 100%; height: 24px; }
.spark.large { height: 46px; border-bottom: 1px solid var(--line); }
.spark path {
  fill: none; stroke: var(--accent); stroke-width: 1.5; stroke-linejoin: round;
  stroke-linecap: round; vector-effect: non-scaling-stroke;
}
.spark .area { fill: var(--wash); stroke: none; }
.spark.bars path { fill: var(--accent); stroke: none; }
.tiles { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 12px 18px; }
.tile { min-width: 0; border-top: 1px solid var(--line); padding-top: 8px; }
.tile dd { display: flex; align-items: baseline; justify-content: space-between; gap: 8px; }
.tile b { font-size: 1.08rem; font-weight: 600; letter-spacing: -.01em; }
.tile dd span { color: var(--soft); font-size: .8rem; }
.tile .spark path { stroke: var(--call); }
.latency {
  border-top: 1px solid var(--line); padding-top: 10px; display: grid; gap: 18px;
  grid-template-columns: minmax(0, 1fr) auto; align-items: end;
}
.latency dl { display: flex; gap: 16px; }
.latency dd { font-weight: 600; white-space: nowrap; }
summary { cursor: pointer; color: var(--soft); font-size: .87rem; border-radius: 4px; }
.others { columns: 2; column-gap: 18px; padding-top: 8px; font-size: .87rem; }
.others .figure { display: flex; justify-content: space-between; gap: 8px; break-inside: avoid; }
.more { align-self: center; color: var(--soft); }

.empty {
  grid-column: 1 / -1; border: 1px dashed var(--line); border-radius: 12px; padding: 30px 24px;
  text-align: center; color: var(--soft); display: grid; gap: 6px;
}
.empty h2, .empty h3 { color: var(--ink); }
.notice, .done { border-radius: 10px; padding: 11px 16px; background: var(--wash); }
.done::before { content: "✓ "; color: var(--accent); font-weight: 700; }

button, .button {
  font: inherit; font-weight: 560; font-size: .9rem; color: var(--on-accent);
  background: var(--accent); border: 1px solid transparent; border-radius: 8px; padding: 6px 14px;
  cursor: pointer; text-decoration: none; display: inline-flex; align-items: center; gap: 8px;
  white-space: nowrap;
}
button:hover, .button:hover { filter: brightness(1.08); }
button:disabled { cursor: default; color: var(--soft); background: var(--faint); filter: none; }
.quiet { color: var(--ink); background: transparent; border-color: var(--line); }
.quiet:hover { background: var(--faint); filter: none; }
.danger { background: var(--error); color: var(--card); }
.stages {
  display: grid; gap: 1px; grid-template-columns: repeat(auto-fit, minmax(330px, 1fr));
  background: var(--line); border: 1px solid var(--line); border-radius: 12px; overflow: hidden;
}
.stage {
  display: flex; gap: 16px; align-items: center; padding: 13px 18px; background: var(--card);
}
.stage div { flex: 1; min-width: 0; }
.stage p { color: var(--soft); font-size: .87rem; line-height: 1.4; }
.play { border: solid transparent; border-width: 5px 0 5px 8px; border-left-color: currentColor; }
.stage[data-state="runs"] .play {
  width: 10px; height: 10px; border: 2px solid currentColor; border-right-color: transparent;
  border-radius: 50%; animation: turn .8s linear infinite;
}
@keyframes turn { to { transform: rotate(1turn); } }

#report { scroll-margin-top: 16px; outline: none; }
#report:empty { display: none; }
.report {
  background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 18px 22px;
  display: grid; grid-template-columns: minmax(0, 1fr); gap: 14px;
}
.outcome {
  font-size: 1.3rem; font-weight: 600; letter-spacing: -.02em; line-height: 1.3;
  margin-top: -12px;
}
.outcome::first-letter { text-transform: uppercase; }
.facts { display: flex; flex-wrap: wrap; gap: 8px 30px; }
.facts dd { font-weight: 600; }
.timeline { min-width: 0; display: grid; gap: 8px; }
.timeline > svg { display: block; overflow: visible; }
.timeline figcaption {
  display: flex; flex-wrap: wrap; gap: 4px 18px; color: var(--soft); font-size: .8rem;
}
.timeline figcaption span { display: inline-flex; align-items: center; gap: 6px; }
.timeline text { font-size: 12px; fill: var(--ink); }
.lane { fill: var(--faint); rx: 6px; }
text.lane-name { fill: var(--soft); transform: translateX(10px); }
.tick { stroke: var(--line); }
text.tick-name { fill: var(--soft); font-size: 11px; }
.event rect, .event path { fill: var(--kind); }
.event.error path { fill: none; stroke: var(--kind); stroke-width: 2.5; stroke-linecap: round; }
.event.wait rect { fill-opacity: .55; }
.event rect + svg text { fill: var(--card); font-size: 11px; }
.event.wait rect + svg text { fill: var(--ink); }
.mark { overflow: visible; }
.event:hover rect, .event:hover path { filter: brightness(1.15); }
.call { --kind: var(--call); } .wait { --kind: var(--wait); } .load { --kind: var(--load); }
.hit { --kind: var(--hit); } .stale { --kind: var(--stale); } .change { --kind: var(--change); }
.error { --kind: var(--error); } .note { --kind: var(--note); }
.told pre { margin: 8px 0 0; }
.scroll { overflow: auto; max-height: 320px; margin-top: 8px; border-radius: 8px; }
table { border-collapse: collapse; width: 100%; font-size: .87rem; }
th, td {
  text-align: left; padding: 4px 16px 4px 0; border-bottom: 1px solid var(--line);
  vertical-align: top;
}
th { color: var(--soft); font-weight: 500; }
td.when { white-space: nowrap; color: var(--soft); }

.crumbs {
  font-size: .87rem; color: var(--soft); display: flex; flex-wrap: wrap; margin-bottom: -14px;
}
.crumbs > * { overflow-wrap: anywhere; }
.crumbs > * + *::before { content: "/"; padding: 0 8px; color: var(--soft); display: inline-block; }
h1 + .lead { margin-top: -18px; }
.tools { display: flex; flex-wrap: wrap; gap: 12px 28px; align-items: end; }
.tools > .button { margin-left: auto; }
.search { display: grid; grid-template-columns: minmax(0, 240px) auto; gap: 4px 8px; }
.search label { grid-column: 1 / -1; color: var(--soft); font-size: .8rem; }
input {
  font: inherit; font-size: .9rem; color: inherit; background: var(--card); min-width: 0;
  border: 1px solid var(--line); border-radius: 8px; padding: 6px 11px; width: 100%;
}
input::placeholder { color: var(--soft); opacity: 1; }
.entries {
  list-style: none; background: var(--card); border: 1px solid var(--line); border-radius: 12px;
}
.entries li {
  display: grid; grid-template-columns: minmax(0, 4fr) minmax(0, 6fr) 6.5em auto; gap: 4px 18px;
  padding: 10px 18px; align-items: baseline;
}
.entries li + li { border-top: 1px solid var(--line); }
.entries .plain, .entries pre { unicode-bidi: isolate; }
.entries .plain { overflow-wrap: anywhere; white-space: pre-wrap; }
.entries summary { color: var(--ink); overflow-wrap: anywhere; unicode-bidi: isolate; }
.entries .value { color: var(--soft); }
.entries .value summary { color: var(--soft); }
pre {
  margin: 8px 0 4px; padding: 10px 12px; background: var(--faint); border-radius: 8px;
  max-height: 360px; overflow: auto; color: var(--ink); white-space: pre-wrap;
  overflow-wrap: anywhere;
}
.entries small { color: var(--soft); margin-left: 8px; }
.entries .left { color: var(--soft); font-size: .87rem; white-space: nowrap; }
.entries button { padding: 2px 11px; }
.tag {
  display: inline-block; background: var(--wash); border-radius: 5px; padding: 0 7px;
  margin: 2px 4px 0 0; overflow-wrap: anywhere;
}
.refusal {
  background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 28px 30px;
  max-width: 680px; gap: 14px;
}
.refusal .code { color: var(--soft); font-weight: 600; margin-bottom: -10px; }
.refusal form { margin-top: 6px; }

@media (max-width: 900px) {
  .summary { grid-template-columns: repeat(3, 1fr); }
}
@media (max-width: 640px) {
  .top { padding: 14px 16px 4px; }
  main { padding: 8px 16px 48px; gap: 20px; }
  .where { order: 3; flex-basis: 100%; margin-top: -6px; }
  .summary { grid-template-columns: repeat(2, 1fr); }
  .summary .figure { padding: 9px 14px; }
  .cards, .stages { grid-template-columns: minmax(0, 1fr); }
  .report { padding: 16px; }
  text.short { display: none; }
  .entries li { grid-template-columns: minmax(0, 1fr) auto; padding: 10px 14px; }
  .entries .key, .entries .value { grid-column: 1 / -1; }
  .tools > .button { margin-left: 0; }
  .refusal { padding: 20px; }
}
@media (prefers-reduced-motion: reduce) {
  .stage[data-state="runs"] .play { animation: none; }
}
]]
