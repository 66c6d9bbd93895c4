// The camera: a picture of it is an image file like any other.

// Shows the camera's picture where the browser gives one to a file's page, and takes pictures of it.
//   take: called with [{path, file}].
//   fail: called with the reason why there is no picture.
export function setUpCamera(byId, take, fail) {
  const [view, video, start] = ["camera", "video", "camera-start"].map(byId);
  let count = 0;
  start.hidden = !navigator.mediaDevices?.getUserMedia;
  start.onclick = async () => {
    try {
      video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    } catch (error) {
      return fail(`No camera: ${error.message}`);
    }
    await video.play();
    view.hidden = false;
    start.hidden = true;
    byId("camera-take").focus();
  };
  byId("camera-take").onclick = async () => {
    const canvas = document.createElement("canvas");
    Object.assign(canvas, { width: video.videoWidth, height: video.videoHeight });
    canvas.getContext("2d").drawImage(video, 0, 0);
    const file = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
    take([{ path: `camera-${++count}.png`, file }]);
  };
  byId("camera-stop").onclick = () => {
    video.srcObject.getTracks().forEach((track) => track.stop());
    video.srcObject = null;
    view.hidden = true;
    start.hidden = false;
    start.focus();
  };
}
