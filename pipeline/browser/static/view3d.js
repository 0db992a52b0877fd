// The bodies of two rounds, to be turned: skin and bones of each.
import { html, useEffect, useRef, useState } from "./vendor/ui.min.js";
import { askNumbers, who } from "./api.js";

const PARTS = { "skin-a": "skin A", "bones-a": "bones A", "skin-b": "skin B", "bones-b": "bones B" };
const COLOURS = { a: 0xe0a060, b: 0x7ea6f4 };
const BONES = { a: 0xf2b060, b: 0xdfe8ff };
const GROUND = 0x232833;

export function View3d({ person, a, b }) {
  const place = useRef(null);
  const world = useRef(null);
  const [shown, setShown] = useState({ "skin-a": false, "bones-a": true, "skin-b": true, "bones-b": true });
  const [words, setWords] = useState("Loading the bodies ...");

  useEffect(() => {
    let made = null, gone = false;
    import("./vendor/three.min.js").then((three) => {
      if (gone) return;
      try { made = makeWorld(three, place.current); } catch (error) { setWords(`No 3D here: ${error.message}`); return; }
      world.current = made;
      fill(made, person, { a, b }).then((count) => {
        if (gone) return;
        setWords(count ? "" : "No round has a label of this person.");
        made.show(shown);
      }, (error) => setWords(error.message));
    });
    return () => { gone = true; made?.end(); world.current = null; };
  }, [a, b]);
  useEffect(() => { world.current?.show(shown); }, [shown]);

  return html`<div ref=${place}></div>
    <div class="tools" role="group" aria-label="Parts of the bodies">
      ${Object.entries(PARTS).map(([part, name]) => html`<label><input type="checkbox" id=${part} checked=${shown[part]}
        onChange=${(e) => setShown({ ...shown, [part]: e.target.checked })} /> ${name}</label>`)}
      <button aria-label="turn left" id="turn-left" onClick=${() => world.current?.turn(-0.4)}>↺</button>
      <button aria-label="turn right" id="turn-right" onClick=${() => world.current?.turn(0.4)}>↻</button>
      <button onClick=${() => world.current?.reset()}>front</button>
    </div>
    <p class="soft" role="status">${words || "Drag to turn, wheel to zoom. A is orange, B is blue."}</p>`;
}

function makeWorld(three, element) {
  const renderer = new three.WebGLRenderer({ antialias: true, preserveDrawingBuffer: true });
  renderer.setPixelRatio(Math.min(devicePixelRatio, 2));
  renderer.setClearColor(GROUND);
  const canvas = renderer.domElement;
  canvas.id = "bodies-canvas";
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", "Skin and bones of rounds A and B");
  element.append(canvas);
  const scene = new three.Scene();
  scene.add(new three.HemisphereLight(0xffffff, 0x556070, 2.2));
  const lamp = new three.DirectionalLight(0xffffff, 2);
  lamp.position.set(-1, 2, 2);
  scene.add(lamp);
  const camera = new three.PerspectiveCamera(30, 1, 0.1, 50);
  const controls = new three.OrbitControls(camera, canvas);
  const parts = {};
  const middle = new three.Vector3(), size = new three.Vector3(1, 2, 1);

  const draw = () => renderer.render(scene, camera);
  const reset = () => {
    controls.target.copy(middle);
    // All of the body in view, whatever the shape of the canvas.
    const half = Math.tan((camera.fov * Math.PI) / 360);
    const far = (1.08 * Math.max(size.y, size.x / camera.aspect, size.z / camera.aspect)) / (2 * half) + size.z / 2;
    camera.position.set(middle.x, middle.y, middle.z + far);
    controls.update();
    draw();
  };
  const fit = () => {
    const { clientWidth, clientHeight } = canvas;
    if (!clientWidth) return;
    renderer.setSize(clientWidth, clientHeight, false);
    camera.aspect = clientWidth / clientHeight;
    camera.updateProjectionMatrix();
    draw();
  };
  const seen = new ResizeObserver(fit);
  seen.observe(canvas);
  controls.addEventListener("change", draw);
  return {
    add(name, vertices, faces) {
      const shape = new three.BufferGeometry();
      shape.setAttribute("position", new three.BufferAttribute(vertices, 3));
      shape.setIndex(new three.BufferAttribute(faces, 1));
      shape.computeVertexNormals();
      const skin = name.startsWith("skin"), side = name.slice(-1);
      const look = new three.MeshStandardMaterial({
        color: skin ? COLOURS[side] : BONES[side], roughness: 0.75, side: three.DoubleSide,
        transparent: skin, opacity: skin ? 0.5 : 1, depthWrite: !skin,
      });
      parts[name] = new three.Mesh(shape, look);
      parts[name].renderOrder = skin ? 1 : 0;
      scene.add(parts[name]);
      const box = new three.Box3();
      for (const part of Object.values(parts)) box.expandByObject(part);
      box.getCenter(middle);
      box.getSize(size);
    },
    show(wanted) { for (const [name, part] of Object.entries(parts)) part.visible = Boolean(wanted[name]); draw(); },
    turn(by) {
      camera.position.sub(controls.target).applyAxisAngle(new three.Vector3(0, 1, 0), by).add(controls.target);
      controls.update();
      draw();
    },
    fit, reset,
    end() { seen.disconnect(); controls.dispose(); renderer.dispose(); canvas.remove(); },
  };
}

async function fill(world, person, rounds) {
  let count = 0;
  for (const part of ["skin", "bones"]) {
    for (const side of ["a", "b"]) {
      if (!rounds[side]) continue;
      const words = { ...who(person), round: rounds[side], part };
      const found = await Promise.all([askNumbers("body", words, Float32Array), askNumbers("faces", words, Uint32Array)]).catch(() => null);
      if (found) { world.add(`${part}-${side}`, ...found); count += 1; }
    }
  }
  world.fit();
  world.reset();
  return count;
}
