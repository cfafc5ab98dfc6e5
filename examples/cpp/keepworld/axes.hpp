// Cameras and points of keepworld in the axes and units of game engines. C++17, this file alone.
//
// keepworld's own frame of reference is OpenCV's: +x right, +y down, +z forward, metres, in the world and in the camera.
// An engine differs in the axes of its world, the axes of its camera and its unit of length; `Axes` is those three, and
// `convert` is the one line of algebra: there = world * here * inverse(camera).
//
//   auto pose = keepworld::pose_from_wire(w, x, y, z, tx, ty, tz);   // Camera.world_from_camera of a frame
//   auto unity = keepworld::convert(pose, keepworld::unity);         // unity.position, unity.quaternion() as x y z w
//
// The same golden cameras hold this file, the TypeScript module and the Python package: tests/axes/cameras.json.
#pragma once

#include <array>
#include <cmath>
#include <stdexcept>
#include <string>

namespace keepworld {

using Vector = std::array<double, 3>;
using Matrix = std::array<std::array<double, 3>, 3>;  // rows

inline constexpr double kPi = 3.14159265358979323846;

/// A quaternion in the order that engines have it.
struct Quaternion {
  double x = 0, y = 0, z = 0, w = 1;
};

/// Degrees, as Unreal's FRotator has them: pitch looks up, yaw looks right, roll leans to the right.
struct Rotator {
  double pitch = 0, yaw = 0, roll = 0;
};

/// Where a camera stands and how it is turned: camera to world. The columns of `rotation` are the camera's own axes.
struct Pose {
  Matrix rotation{{{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}};
  Vector position{};

  /// The rotation as a unit quaternion with w >= 0 (Shepperd's method). For left-handed engines too.
  Quaternion quaternion() const;
  /// Row-major 4x4, for what takes matrices.
  std::array<double, 16> matrix() const;
};

/// The axes of a program, seen from OpenCV's. Rows of `world` and `camera`: what each of its axes is in ours.
struct Axes {
  Matrix world;
  Matrix camera;
  double units_per_metre;
};

inline constexpr Matrix kRightUpForward{{{1, 0, 0}, {0, -1, 0}, {0, 0, 1}}};
inline constexpr Matrix kRightUpBack{{{1, 0, 0}, {0, -1, 0}, {0, 0, -1}}};
inline constexpr Matrix kForwardRightUp{{{0, 0, 1}, {1, 0, 0}, {0, -1, 0}}};
inline constexpr Matrix kRightForwardUp{{{1, 0, 0}, {0, 0, 1}, {0, -1, 0}}};

inline constexpr Axes opencv{{{{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}}, {{{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}}, 1};
inline constexpr Axes unity{kRightUpForward, kRightUpForward, 1};      // left-handed, y up; looks along +z
inline constexpr Axes unreal{kForwardRightUp, kForwardRightUp, 100};   // left-handed, z up, centimetres; looks along +x
inline constexpr Axes godot{kRightUpBack, kRightUpBack, 1};            // right-handed, y up; looks along -z
inline constexpr Axes gltf{kRightUpBack, kRightUpBack, 1};             // right-handed, y up; looks along -z
inline constexpr Axes blender{kRightForwardUp, kRightUpBack, 1};       // right-handed, z up; looks along -z, y up

/// Look a program's axes up by its name. Throws std::invalid_argument for a name that is none.
inline const Axes& axes_named(const std::string& name) {
  if (name == "opencv") return opencv;
  if (name == "unity") return unity;
  if (name == "unreal") return unreal;
  if (name == "godot") return godot;
  if (name == "gltf") return gltf;
  if (name == "blender") return blender;
  throw std::invalid_argument("axes must be opencv, unity, unreal, godot, gltf or blender, got '" + name + "'");
}

/// A pose from the wire: RigidTransform's rotation (w first, any length but zero) and translation.
inline Pose pose_from_wire(double w, double x, double y, double z, double tx, double ty, double tz) {
  const double length = std::sqrt(w * w + x * x + y * y + z * z);
  if (!(length > 0) || !std::isfinite(length)) throw std::invalid_argument("a rotation must be a quaternion, got none");
  w /= length, x /= length, y /= length, z /= length;
  return Pose{{{{1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)},
                {2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)},
                {2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)}}},
              {tx, ty, tz}};
}

inline Vector times(const Matrix& a, const Vector& v) {
  Vector out{};
  for (int i = 0; i < 3; ++i)
    for (int k = 0; k < 3; ++k) out[i] += a[i][k] * v[k];
  return out;
}

inline Matrix times(const Matrix& a, const Matrix& b) {
  Matrix out{};
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j)
      for (int k = 0; k < 3; ++k) out[i][j] += a[i][k] * b[k][j];
  return out;
}

inline Matrix transposed(const Matrix& a) {
  Matrix out{};
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j) out[i][j] = a[j][i];
  return out;
}

/// A point of our world, metres, in a program's axes and units.
inline Vector convert(const Vector& point, const Axes& to) {
  Vector out = times(to.world, point);
  for (double& value : out) value *= to.units_per_metre;
  return out;
}

/// A camera of ours as a program wants it.
inline Pose convert(const Pose& ours, const Axes& to) {
  return Pose{times(times(to.world, ours.rotation), transposed(to.camera)), convert(ours.position, to)};
}

/// A program's camera as ours, for cameras that are sent to a server: the inverse of `convert`.
inline Pose restore(const Pose& theirs, const Axes& from) {
  Pose ours{times(times(transposed(from.world), theirs.rotation), from.camera), {}};
  ours.position = times(transposed(from.world), theirs.position);
  for (double& value : ours.position) value /= from.units_per_metre;
  return ours;
}

/// What FRotator wants, of a pose that has been converted to `unreal`.
inline Rotator rotator(const Pose& unreal_pose) {
  const Matrix& m = unreal_pose.rotation;  // columns: the camera's forward, right and up
  const double pitch = std::atan2(m[2][0], std::hypot(m[0][0], m[1][0]));
  const double yaw = std::atan2(m[1][0], m[0][0]);
  // What right and up would be without roll; the roll is the angle from there to where they are.
  const double level_x = -std::sin(yaw), level_y = std::cos(yaw);
  const double along_right = level_x * m[0][1] + level_y * m[1][1];
  const double along_up = level_x * m[0][2] + level_y * m[1][2];
  constexpr double degrees = 180 / kPi;
  return {pitch * degrees, yaw * degrees, std::atan2(along_up, along_right) * degrees};
}

/// The angle of view, degrees, from what Intrinsics says: `pixels` its width or height, `focal` its fx or fy. Unity's
/// Camera.fieldOfView and Godot's Camera3D.fov are vertical, Unreal's FOVAngle is horizontal; Blender's lens is
/// focal / width * sensor_width.
inline double fov_degrees(double pixels, double focal) { return 2 * std::atan2(pixels, 2 * focal) * 180 / kPi; }

inline Quaternion Pose::quaternion() const {
  const Matrix& m = rotation;
  const double trace = m[0][0] + m[1][1] + m[2][2];
  double q[4];  // x y z w
  if (trace >= m[0][0] && trace >= m[1][1] && trace >= m[2][2]) {
    q[0] = m[2][1] - m[1][2], q[1] = m[0][2] - m[2][0], q[2] = m[1][0] - m[0][1], q[3] = 1 + trace;
  } else {
    const int i = m[0][0] >= m[1][1] ? (m[0][0] >= m[2][2] ? 0 : 2) : (m[1][1] >= m[2][2] ? 1 : 2);
    const int j = (i + 1) % 3, k = (i + 2) % 3;
    q[i] = 1 + m[i][i] - m[j][j] - m[k][k];
    q[j] = m[j][i] + m[i][j], q[k] = m[k][i] + m[i][k], q[3] = m[k][j] - m[j][k];
  }
  double length = std::sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3]);
  if (q[3] < 0) length = -length;
  return {q[0] / length, q[1] / length, q[2] / length, q[3] / length};
}

inline std::array<double, 16> Pose::matrix() const {
  std::array<double, 16> out{};
  for (int i = 0; i < 3; ++i) {
    for (int j = 0; j < 3; ++j) out[4 * i + j] = rotation[i][j];
    out[4 * i + 3] = position[i];
  }
  out[15] = 1;
  return out;
}

}  // namespace keepworld
