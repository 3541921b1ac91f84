(() => {
  const { shape, latentDim, classes, truncation, seed, words } = JSON.parse(document.getElementById("data").textContent);
  const { chinese } = switches;
  const say = (key, values = {}) =>
    words[key][chinese() ? 1 : 0].replace(/\{(\w+)\}/g, (_, name) => values[name]);
  const find = (id) => document.getElementById(id);
  const [channels, height, width] = shape;

  // --- latents -----------------------------------------------------------------------------------

  const length = (z) => Math.sqrt(z.reduce((sum, value) => sum + value * value, 0));

  // A mixture of the corners as long as they are: most Gaussian latents have about one length, and
  // the plain mean of four is half as long, a place that training has hardly seen.
  function mixed(corners, x, y) {
    const shares = [(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y];
    const only = shares.indexOf(1);
    if (only >= 0) return corners[only];
    const sum = Array.from({ length: latentDim }, (_, i) => shares.reduce((s, share, c) => s + share * corners[c][i], 0));
    const wanted = shares.reduce((s, share, c) => s + share * length(corners[c]), 0);
    const is = length(sum);
    return Float32Array.from(sum, (value) => (is > 1e-6 ? (value * wanted) / is : value));
  }

  // Numbers that are the same at every visit (mulberry32), and normal ones of them (Box and Muller).
  let state = 1;
  function uniform() {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  }
  const normal = () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());

  // At an angle from z, in a random direction: of a normal z it is a normal latent again.
  function near(z, direction, degrees) {
    const angle = (degrees * Math.PI) / 180;
    return z.map((value, i) => Math.cos(angle) * value + Math.sin(angle) * direction[i]);
  }

  let bank, set = 0;      // latents of `generate`, four of which are the corners
  let corners, own = false;
  let at = { x: 0.5, y: 0.5 };
  let z = null;           // of the picture; on the pad where `away` is false
  let away = false;
  let directions = [];
  let label = 0, psi = 1;

  // --- the generator -----------------------------------------------------------------------------

  async function bytes(id) {
    const text = find(id).textContent.trim();
    const raw = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([raw]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  let session = null;
  async function load() {
    const glue = new Blob([await bytes("glue")], { type: "text/javascript" });
    ort.env.wasm.numThreads = 1;  // more need workers, which a page opened as a file has not
    ort.env.wasm.wasmPaths = { mjs: URL.createObjectURL(glue) };
    ort.env.wasm.wasmBinary = await bytes("wasm");
    session = await ort.InferenceSession.create(await bytes("model"), { executionProviders: ["wasm"] });
  }

  async function image(latent) {
    const inputs = { z: new ort.Tensor("float32", Float32Array.from(latent), [1, latentDim]) };
    if (truncation) inputs.psi = new ort.Tensor("float32", [psi], [1, 1]);
    if (classes.length) inputs.labels = new ort.Tensor("int32", [label], [1]);
    return (await session.run(inputs)).images.data;
  }

  function paint(canvas, values) {
    const ink = canvas.getContext("2d");
    const picture = ink.createImageData(width, height);
    const plane = height * width;
    for (let i = 0; i < plane; i += 1) {
      for (let c = 0; c < 3; c += 1) {
        picture.data[4 * i + c] = Math.round((values[(c % channels) * plane + i] + 1) * 127.5);
      }
      picture.data[4 * i + 3] = 255;
    }
    ink.putImageData(picture, 0, 0);
  }

  // The newest wish of each canvas; the large one comes first, so that dragging stays quick.
  const wanted = new Map();
  let working = false;
  async function work() {
    if (working || !session) return;
    working = true;
    try {
      while (wanted.size) {
        const canvas = wanted.has(shown) ? shown : wanted.keys().next().value;
        const latent = wanted.get(canvas);
        wanted.delete(canvas);
        paint(canvas, await image(latent));
        await new Promise((done) => setTimeout(done));  // hands come first
      }
    } catch (error) {
      wanted.clear();
      fail(error);
    }
    working = false;
  }

  function wish(canvas, latent) {
    wanted.set(canvas, latent);
    work();
  }

  function fail(error) {
    find("state").className = "note";
    find("state").textContent = say("failed", { why: error && error.message ? error.message : error });
  }

  // --- what is shown -----------------------------------------------------------------------------

  const shown = find("shown"), pad = find("pad"), point = find("point");
  const across = find("across"), down = find("down"), distance = find("distance");
  const cornerPictures = [...document.querySelectorAll(".corner")];
  const neighbours = [...document.querySelectorAll("#neighbours button")];
  for (const canvas of document.querySelectorAll("canvas")) {
    [canvas.width, canvas.height] = [width, height];
    const mark = () => canvas.classList.toggle("small", width < canvas.clientWidth);
    new ResizeObserver(mark).observe(canvas);
  }

  function place() {
    const percent = { across: Math.round(100 * at.x), down: Math.round(100 * at.y) };
    [point.style.left, point.style.top] = [`${100 * at.x}%`, `${100 * at.y}%`];
    point.classList.toggle("away", away);
    [across.value, down.value] = [percent.across, percent.down];
    const where = [away ? say("off_pad") : say("at", percent)];
    if (classes.length) where.push(say("of_class", { name: classes[label] }));
    return where.join(chinese() ? "，" : ", ");
  }

  // All texts that the script makes, in the language shown.
  function describe() {
    if (find("state").className !== "note") find("state").textContent = session ? say("ready") : find("state").textContent;
    const where = place();
    find("where").textContent = where;
    shown.setAttribute("aria-label", `${say("picture_is")}: ${where}`);
    cornerPictures.forEach((canvas, c) => canvas.setAttribute("aria-label", say("corner_is", { name: say(`corner_${c}`) })));
    for (const button of document.querySelectorAll("[data-put]")) {
      button.setAttribute("aria-label", say("put_into", { name: say(`corner_${button.dataset.put}`) }));
    }
    neighbours.forEach((button, n) => button.setAttribute("aria-label", say("alike_is", { number: n + 1 })));
    const first = 4 * set + 1;
    find("origin").textContent = own ? say("of_your_own") : say("of_seed", { first, last: first + 3, seed });
  }

  function drawCorners() {
    cornerPictures.forEach((canvas, c) => wish(canvas, corners[c]));
  }

  function drawNeighbours() {
    const degrees = Number(distance.value);
    neighbours.forEach((button, n) => wish(button.firstElementChild, near(z, directions[n], degrees)));
  }

  function drawAll() {
    wish(shown, z);
    drawCorners();
    drawNeighbours();
    describe();
  }

  // To a place on the pad; while the hand is still moving, the neighbours wait.
  function go(x, y, settled = true) {
    at = { x: Math.min(1, Math.max(0, x)), y: Math.min(1, Math.max(0, y)) };
    away = false;
    z = mixed(corners, at.x, at.y);
    wish(shown, z);
    if (settled) {
      drawNeighbours();
      describe();
    } else place();
  }

  function turn() {
    directions = neighbours.map(() => Float32Array.from({ length: latentDim }, normal));
  }

  function takeCorners(number) {
    set = number % Math.floor(bank.length / (4 * latentDim));
    own = false;
    corners = [0, 1, 2, 3].map((c) => bank.slice((4 * set + c) * latentDim, (4 * set + c + 1) * latentDim));
    z = mixed(corners, at.x, at.y);
    away = false;
    drawAll();
  }

  // --- hands -------------------------------------------------------------------------------------

  function hands() {
    const from = (event) => {
      const box = pad.getBoundingClientRect();
      return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    };
    pad.addEventListener("pointerdown", (event) => {
      pad.setPointerCapture(event.pointerId);
      go(...from(event), false);
    });
    pad.addEventListener("pointermove", (event) => {
      if (pad.hasPointerCapture(event.pointerId)) go(...from(event), false);
    });
    pad.addEventListener("lostpointercapture", () => go(at.x, at.y));
    for (const slider of [across, down]) {
      slider.addEventListener("input", () => go(across.value / 100, down.value / 100, false));
      slider.addEventListener("change", () => go(across.value / 100, down.value / 100));
    }
    find("others").addEventListener("click", () => takeCorners(set + 1));
    for (const choice of document.querySelectorAll("input[name=class]")) {
      choice.addEventListener("change", () => {
        label = Number(choice.value);
        drawAll();
      });
    }
    if (truncation) {
      find("psi").addEventListener("input", () => {
        psi = Number(find("psi").value);
        find("psi-now").textContent = psi;
        drawAll();
      });
    }
    distance.addEventListener("input", drawNeighbours);
    find("again").addEventListener("click", () => {
      turn();
      drawNeighbours();
    });
    neighbours.forEach((button, n) => button.addEventListener("click", () => {
      z = near(z, directions[n], Number(distance.value));
      away = true;
      turn();
      wish(shown, z);
      drawNeighbours();
      describe();
    }));
    for (const button of document.querySelectorAll("[data-put]")) {
      button.addEventListener("click", () => {
        const corner = Number(button.dataset.put);
        corners = corners.map((own, c) => (c === corner ? Float32Array.from(z) : own));
        own = true;
        drawCorners();
        go(corner % 2, corner >> 1);
      });
    }
    find("save").addEventListener("click", () => {
      const link = document.createElement("a");
      [link.href, link.download] = [shown.toDataURL("image/png"), "picture.png"];
      link.click();
    });
  }

  async function start() {
    await load();
    bank = new Float32Array((await bytes("latents")).buffer);
    turn();
    hands();
    takeCorners(0);
  }

  switches.start(() => corners && describe());
  start().catch(fail);
  window.explorer = {  // for whoever looks at it from the console
    idle: () => Boolean(session) && corners !== undefined && !working && !wanted.size,
    latent: () => Array.from(z),
    corners: () => corners.map((corner) => Array.from(corner)),
  };
})();
